// Put into every page of the tests: a notebook is found by its path, whatever else is open.

window.tests = {
  panels: {},
  told: {}, // by path: what the kernel told on its channels
  runs: {}, // by path: the cells that were begun, in their order

  async open(path, isBusy) {
    const app = window.jupyterapp;
    await app.restored;
    const panel = await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
    await panel.context.ready;
    await panel.sessionContext.ready;
    const { kernel } = panel.sessionContext.session;
    // The indicator says "idle" before there is a kernel, and what is run then is lost.
    if (!isBusy) await this.answers(kernel);
    await this.isShown(panel);
    // What is in the window is laid out in the next frame.
    await Promise.race([this.frames(2), new Promise((answer) => setTimeout(answer, 1000))]);
    this.panels[path] = panel;
    this.told[path] = [];
    this.runs[path] = [];
    kernel.anyMessage.connect((_, { msg, direction }) => {
      if (direction !== "recv") return;
      const { header, parent_header, channel } = msg;
      this.told[path].push({ id: header.msg_id, type: header.msg_type, parent: parent_header.msg_id, channel });
    });
    return panel.id;
  },

  async frames(number) {
    for (let at = 0; at < number; at++) await new Promise(requestAnimationFrame);
  },

  // JupyterLab puts outputs into a page when it has the time to. A kernel may be there before.
  isShown(panel) {
    const isThere = ({ node, model }) => {
      if (!model.outputs?.length) return true;
      const shown = [...node.querySelectorAll(".jp-OutputArea-output")];
      return node.isConnected && shown.length > 0 && shown.every((one) => one.hasChildNodes());
    };
    return new Promise((answer) => {
      const look = () => {
        if (!panel.content.widgets.every(isThere)) return;
        observer.disconnect();
        answer();
      };
      const observer = new MutationObserver(look);
      observer.observe(panel.node, { childList: true, subtree: true });
      look();
    });
  },

  // ipykernel 7.0 to 7.3 may leave unread what a page asks just while an answer to somebody else is sent, such as to the
  // server, which asks once for each page (ipykernel #1554), and all that comes after. A new connection wakes it, and is
  // as likely to be left; the kernel keeps what it has. Nothing tells that it is so but that no answer comes.
  async answers(kernel) {
    for (const milliseconds of [2000, 4000, 8000]) {
      if (await this.isHeard(kernel, milliseconds)) return;
      await kernel.reconnect();
    }
    if (!(await this.isHeard(kernel, 16000))) throw new Error("the kernel answers nothing");
  },

  async isHeard(kernel, milliseconds) {
    let asked = null;
    const answered = kernel.info.then(() => {
      asked = kernel.requestExecute({ code: "pass", silent: true, store_history: false });
      return asked.done.then(() => true);
    });
    const late = new Promise((answer) => setTimeout(() => answer(false), milliseconds));
    const heard = await Promise.race([answered.catch(() => false), late]);
    if (!heard) asked?.dispose();
    return heard;
  },

  begin(path, command, cell) {
    const panel = this.panels[path];
    window.jupyterapp.shell.activateById(panel.id);
    if (cell !== null) panel.content.activeCellIndex = cell;
    this.runs[path].push(window.jupyterapp.commands.execute(command));
  },

  // Whether all cells of what was begun last ended well.
  async ended(path) {
    return String(await this.runs[path].at(-1)) === "true";
  },

  async save(path) {
    await this.panels[path].context.save();
  },

  async close(path, keepKernel) {
    const panel = this.panels[path];
    delete this.panels[path];
    if (!keepKernel) await panel.sessionContext.shutdown();
    panel.dispose();
  },

  // Reject where something takes too long: a test would wait for ever.
  within(milliseconds, what, promise) {
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error(`waited ${milliseconds} ms for ${what}`)), milliseconds);
    });
    return Promise.race([promise, late]);
  },
};

// How well can what an element shows be read? Contrast as WCAG 2 has it.
{
  const parse = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    // What is mixed comes in shares of 1.
    const most = color.startsWith("color(srgb ") ? 255 : 1;
    return { rgb: [red, green, blue].map((part) => part * most), alpha };
  };
  const over = (top, below) => top.rgb.map((part, at) => part * top.alpha + below[at] * (1 - top.alpha));
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own.alpha === 1 ? own.rgb : over(own, ground(element.parentElement));
  };
  const contrast = (element) => {
    const below = ground(element);
    const [dark, light] = [below, over(parse(getComputedStyle(element).color), below)].map(luminance).sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const says = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());

  // Give the texts with less contrast than `least`, each with its contrast. A text without letters or digits is a sign.
  window.tests.faint = (shown, least, leastOfSigns = least) =>
    [...shown.querySelectorAll("*")]
      .filter((element) => says(element) && element.checkVisibility())
      .filter((element) => contrast(element) < (/[\p{L}\p{N}]/u.test(element.textContent) ? least : leastOfSigns))
      .map((element) => `${element.className || element.tagName} "${element.textContent.trim()}": ${contrast(element).toFixed(1)}`);
}
