// Where a widget of ours is seen: in the place of HTML, the slot, that a cell has from Python. A notebook keeps that HTML
// and never a widget, which is an error picture wherever its kernel or its package is not. This stands before the script
// of each widget, and `jupyterlab.js` before this.
//
// The model does it by itself, without a view of Jupyter's: Python need not know what the page can show, and says only
// what stays (`stays`) when the widget has served. Each page that got so far says hello.

const HTML = "text/html";
const REPLACED = 1000; // ms that what stays may take to come by itself
const SETTLED = 300; // ms after which a page that is being closed has closed its notebook as well
const GONE = ["restarting", "autorestarting", "dead", "terminating"];
const ANEW = "This page was loaded anew in the meantime. It has ended:";

class Slot {
  // `draw` gives what is seen in an element: with `remove`, and with `gone`, which says that the kernel is.
  constructor(model, draw) {
    this.model = model;
    this.draw = draw;
    this.mark = `hive-slot-${model.get("slot")}`;
    this.views = new Map(); // the output that a view stands in for → the view
    this.gone = false;
    this.onStays = () => this.later(REPLACED);
    model.on("change:stays", this.onStays);
    this.hearKernel();
    // A notebook that is closed leaves its models to nobody.
    this.context = lab.notebookOf(model);
    this.onClosed = () => this.end();
    this.context?.disposed?.connect(this.onClosed);
    this.observer = new MutationObserver(() => this.look());
    this.observer.observe(document.documentElement, { childList: true, subtree: true });
    this.look();
    // What has ended before this page came is not replaced here by Python.
    if (this.hasEnded) this.later(0);
    else model.send({ hello: true });
  }

  get hasEnded() {
    return Object.keys(this.model.get("stays") ?? {}).length > 0;
  }

  // Python writes its HTML anew from time to time, and notebooks draw and drop outputs as they like.
  look() {
    for (const [output, view] of this.views) if (!output.isConnected || !this.isIn(output)) this.leave(output, view);
    for (const place of document.getElementsByClassName(this.mark)) {
      const output = place.closest(".jp-OutputArea-output") ?? place.parentElement;
      // Two notebooks of one kernel have a model each.
      if (output.nextElementSibling?.dataset.slot !== this.mark) this.enter(output);
    }
  }

  isIn(output) {
    return output.getElementsByClassName(this.mark).length > 0;
  }

  enter(output) {
    const el = document.createElement("div");
    el.className = output.classList.contains("jp-OutputArea-output") ? "jp-OutputArea-output hive-widget" : "hive-widget";
    el.dataset.slot = this.mark;
    output.after(el);
    output.style.display = "none";
    const view = { el, drawn: this.draw(el) };
    this.views.set(output, view);
    if (this.gone) view.drawn.gone(this.model.get("gone"));
  }

  leave(output, { el, drawn }) {
    this.views.delete(output);
    output.style.display = "";
    drawn.remove();
    el.remove();
  }

  later(patience) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.keep(), patience);
  }

  // Have what stays in the place of the slot, where Python's own word for it has not come: a page that was loaded anew
  // knows no display ids.
  keep() {
    if (this.rewrite(() => this.model.get("stays"))) return;
    for (const { el } of this.views.values()) this.tell(el);
  }

  // A page that has no notebook for us gets it as text.
  tell(el) {
    const [said, text] = [document.createElement("div"), document.createElement("pre")];
    said.textContent = ANEW;
    text.textContent = this.model.get("stays")["text/plain"];
    el.replaceChildren(said, text);
  }

  // Give each output of the notebook that holds the slot other data. JupyterLab and Notebook let us, other pages do not.
  rewrite(anew) {
    if (!this.context || this.context.isDisposed) return false;
    let found = false;
    for (const { data, set } of lab.outputsOf(this.context)) {
      if (!String(data[HTML] ?? "").includes(this.mark)) continue;
      set(anew(data));
      found = true;
    }
    return found;
  }

  hearKernel() {
    this.statusChanged = lab.kernelOf(this.model)?.statusChanged;
    this.onStatus = (_, status) => GONE.includes(status) && this.lose();
    this.statusChanged?.connect(this.onStatus);
  }

  // The kernel is gone, and Python says nothing more: the page says so, and so does the notebook when it is saved.
  lose() {
    if (this.gone || this.hasEnded) return;
    this.gone = true;
    const words = this.model.get("gone");
    for (const { drawn } of this.views.values()) drawn.gone(words);
    const said = document.createElement("div");
    said.textContent = words;
    const add = (data) => (data[HTML].includes(said.outerHTML) ? data : { ...data, [HTML]: data[HTML] + said.outerHTML });
    setTimeout(() => this.rewrite(add), SETTLED);
  }

  end() {
    clearTimeout(this.waiting);
    this.observer.disconnect();
    this.context?.disposed?.disconnect(this.onClosed);
    this.model.off("change:stays", this.onStays);
    this.statusChanged?.disconnect(this.onStatus);
    const isTold = !this.hasEnded || this.rewrite(() => this.model.get("stays"));
    for (const [output, view] of this.views) {
      if (isTold || !output.isConnected || !this.isIn(output)) {
        this.leave(output, view);
      } else {
        view.drawn.remove();
        this.tell(view.el);
      }
    }
  }
}

function inSlot(draw) {
  return {
    initialize({ model }) {
      const slot = new Slot(model, (el) => draw(model, el));
      return () => slot.end();
    },
  };
}
