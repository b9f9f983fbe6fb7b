// Follows a run in a cell. The page draws what Python says: snapshots (the trait `snapshot`) and numbered deltas
// between them. Every text is data from hosts or a deployment, and is only ever set as text.

const COLUMNS = [["on", ""], ["step", ""], ["", ""], ["moved", "n"], ["time", "n"], ["last line", ""]];
const ANSWER = 2000; // ms after which a kernel that says nothing is busy
const SPOKEN = 10000; // ms between two announcements to a screen reader

function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Changes nothing where nothing differs: a selection of text, and what a screen reader reads, stay as they are.
function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

function timeText(seconds, passing) {
  if (seconds < 59.95) return passing ? `${Math.floor(seconds)} s` : `${seconds.toFixed(1)} s`;
  const whole = passing ? Math.floor(seconds) : Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60)];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours} h ${two(minutes % 60)} min` : `${minutes} min ${two(whole % 60)} s`;
}

function bar(label) {
  const made = node("progress");
  made.max = 1;
  made.setAttribute("aria-label", label);
  return made;
}

function setBar(made, fraction) {
  made.hidden = fraction === null;
  if (fraction !== null && made.value !== fraction) made.value = fraction;
}

// What is known, from snapshots and the deltas that follow them without a gap.
class State {
  constructor() {
    this.n = -1;
    this.rows = {};
    this.tails = {};
    this.order = [];
  }

  whole(told) {
    if (!told || told.n === undefined || told.n < this.n) return false;
    Object.assign(this, told);
    this.rows = {};
    this.changed(told.rows);
    return true;
  }

  delta(told) {
    // After a gap only a snapshot can tell: it comes within two seconds.
    if (told.n !== this.n + 1) return false;
    const { rows, ...parts } = told;
    Object.assign(this, parts);
    this.changed(rows || {});
    return true;
  }

  changed(rows) {
    for (const [id, row] of Object.entries(rows)) this.rows[id] = { ...row, at: performance.now() };
    for (const id of Object.keys(this.rows)) if (!this.order.includes(id)) delete this.rows[id];
  }
}

// One row of the table, and the last lines below it when it is open.
class Row {
  constructor(id, toggle) {
    this.line = node("tr", "hive-row");
    this.name = node("button", "hive-name");
    this.name.type = "button";
    this.name.setAttribute("aria-expanded", "false");
    this.name.title = "Show its last lines";
    this.state = node("span");
    this.bar = bar("");
    this.amount = node("td", "n");
    this.time = node("td", "n");
    this.last = node("td", "hive-last");
    const heading = node("th");
    heading.scope = "row";
    heading.append(this.name);
    this.line.append(heading, cell(this.state), cell(this.bar), this.amount, this.time, this.last);
    this.tail = node("pre");
    this.below = node("tr", "hive-below");
    this.below.hidden = true;
    const wide = cell(this.tail);
    wide.colSpan = COLUMNS.length;
    this.below.append(wide);
    this.line.addEventListener("click", () => {
      // Whoever marks text to copy it does not mean to open the row.
      if (String(window.getSelection()) === "") toggle(id);
    });
  }

  draw(row, tail, isOpen, now) {
    say(this.name, row.name);
    say(this.state, row.state);
    this.state.className = `hive-${row.tone}`;
    this.bar.setAttribute("aria-label", row.name);
    setBar(this.bar, row.fraction);
    say(this.amount, row.amount);
    say(this.last, row.line);
    this.last.title = row.line;
    this.tick(row, now);
    this.name.setAttribute("aria-expanded", String(isOpen));
    this.below.hidden = !isOpen;
    // The last lines come with the next snapshot.
    if (isOpen) say(this.tail, tail.length ? tail.join("\n") : row.line || "It said nothing so far.");
  }

  tick(row, now) {
    const passing = row.tone === "run";
    say(this.time, timeText(row.seconds + (passing ? (now - row.at) / 1000 : 0), passing));
  }
}

function cell(content) {
  const made = node("td");
  made.append(content);
  return made;
}

// The button that ends the run, the question that it asks first, and what came of it.
class Cancel {
  constructor(model, state) {
    this.model = model;
    this.state = state;
    this.asked = null;
    this.button = node("button", "hive-cancel", "Cancel…");
    this.button.type = "button";
    this.button.addEventListener("click", () => this.ask());
    this.question = node("div", "hive-question");
    this.question.setAttribute("role", "group");
    this.question.hidden = true;
    this.words = node("span");
    this.yes = node("button", "hive-yes");
    this.no = node("button", "", "Go on");
    this.yes.type = this.no.type = "button";
    this.yes.addEventListener("click", () => this.send());
    this.no.addEventListener("click", () => this.close());
    this.question.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
    this.question.append(this.words, " ", this.yes, this.no);
    this.note = node("div", "hive-note");
    this.note.setAttribute("role", "status");
  }

  get stopping() {
    return Boolean(this.state.head && this.state.head.stopping);
  }

  ask() {
    const { cancelling, leaving } = this.state.words;
    say(this.words, this.stopping ? `Leave at once? ${leaving}` : `Cancel? ${cancelling}`);
    say(this.yes, this.stopping ? "Leave at once" : "Cancel it");
    this.question.setAttribute("aria-label", this.words.textContent);
    this.question.hidden = false;
    this.about = this.stopping;
    this.no.focus();
  }

  close() {
    this.question.hidden = true;
    this.button.focus();
  }

  send() {
    this.close();
    this.asked = { stopping: this.stopping, heard: this.state.head.heard };
    if (this.state.words.blocking) this.interrupt();
    else this.tell();
  }

  // The kernel waits in the cell and hears no message: an interrupt is what it hears. Not every page can give one.
  interrupt() {
    const kernel = lab.kernelOf(this.model);
    if (kernel && typeof kernel.interrupt === "function") {
      say(this.note, "Interrupting the kernel…");
      Promise.resolve(kernel.interrupt()).catch(() => this.helpless());
    } else {
      this.model.send({ cancel: true });
      this.helpless();
    }
  }

  helpless() {
    say(this.note, "This page cannot interrupt the kernel by itself. Use Interrupt (■) in the toolbar of the notebook.");
  }

  tell() {
    this.model.send({ cancel: true });
    const asked = this.asked;
    setTimeout(() => {
      if (this.asked === asked) say(this.note, "The kernel is busy with another cell, and will hear it when that ends.");
    }, ANSWER);
  }

  draw() {
    say(this.button, this.stopping ? "Leave at once…" : "Cancel…");
    const { asked } = this;
    if (asked && (this.state.head.heard > asked.heard || this.stopping !== asked.stopping)) {
      this.asked = null;
      say(this.note, "");
    }
    // What was asked about is no longer so.
    if (!this.question.hidden && this.about !== this.stopping) this.close();
  }
}

class Tracker {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.state = new State();
    this.rows = new Map();
    this.open = new Set();
    this.cancel = new Cancel(model, this.state);
    this.spoken = -SPOKEN;
    this.build();
    this.onSnapshot = () => this.take();
    this.onMessage = (told) => this.state.delta(told) && this.later();
    model.on("change:snapshot", this.onSnapshot);
    model.on("msg:custom", this.onMessage);
    this.timer = setInterval(() => this.tick(), 1000);
    if (this.take()) this.draw();
  }

  take() {
    if (!this.state.whole(this.model.get("snapshot"))) return false;
    this.later();
    return true;
  }

  // Nothing is told any more: what runs is not known, and nobody hears a word.
  gone(words) {
    clearInterval(this.timer);
    // Rows that are opened later are drawn anew, and show the time that it was now.
    this.lostAt = performance.now();
    this.cancel.button.remove();
    this.cancel.question.remove();
    this.el.classList.add("hive-gone");
    say(this.cancel.note, words);
  }

  get now() {
    return this.lostAt ?? performance.now();
  }

  build() {
    this.el.classList.add("hive-tracker");
    // Keys on our buttons are for us, not for the notebook: there, D D deletes the cell. It looks for this on what has
    // the focus and then above, and ends at the first that one of its shortcuts fits.
    this.el.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
    const head = node("div", "hive-head");
    this.title = node("b");
    this.bar = bar("The whole run");
    this.facts = node("span", "hive-dim hive-facts");
    head.append(this.title, this.bar, this.facts, this.cancel.button);
    this.waves = node("ul", "hive-waves");
    this.waves.setAttribute("aria-label", "Waves");
    const table = node("table");
    const titles = node("tr");
    for (const [text, className] of COLUMNS) {
      const title = node("th", className, text);
      title.scope = "col";
      titles.append(title);
    }
    this.body = node("tbody");
    const above = node("thead");
    above.append(titles);
    table.append(above, this.body);
    this.table = node("div", "hive-table");
    this.table.append(table);
    this.rest = node("div", "hive-rest hive-dim");
    this.voice = node("div", "hive-voice");
    this.voice.setAttribute("aria-live", "polite");
    const { question, note } = this.cancel;
    this.el.append(head, question, note, this.waves, this.table, this.rest, this.voice);
  }

  // A page that is not looked at draws nothing, and catches up in one go.
  later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = null;
    const { head } = this.state;
    say(this.title, head.stopping ? "Stopping…" : head.title);
    setBar(this.bar, head.fraction);
    say(this.facts, head.facts);
    this.facts.title = head.facts;
    say(this.rest, [head.rest, head.more ? `${head.more} more not shown` : ""].filter(Boolean).join(" · "));
    this.cancel.draw();
    this.drawWaves(this.state.waves || []);
    this.drawRows();
    this.speak(head);
  }

  drawWaves(waves) {
    while (this.waves.children.length > waves.length) this.waves.lastChild.remove();
    waves.forEach((wave, at) => {
      const item = this.waves.children[at] || this.waves.appendChild(node("li"));
      const failed = wave.failed ? `, ${wave.failed} failed` : "";
      item.className = `hive-${wave.tone}`;
      say(item, `${wave.symbol} ${wave.label}: ${wave.done} of ${wave.total} done${failed}`);
    });
    this.waves.hidden = !waves.length;
  }

  drawRows() {
    const { order, rows, tails } = this.state;
    for (const [id, row] of this.rows) {
      if (rows[id]) continue;
      row.line.remove();
      row.below.remove();
      this.rows.delete(id);
    }
    const root = this.el.getRootNode();
    const focused = root.activeElement;
    let after = null;
    for (const id of order) {
      if (!rows[id]) continue;
      if (!this.rows.has(id)) this.rows.set(id, new Row(id, (which) => this.toggle(which)));
      const row = this.rows.get(id);
      row.draw(rows[id], tails[id] || [], this.open.has(id), this.now);
      // Only what stands elsewhere is moved.
      const place = after ? after.nextSibling : this.body.firstChild;
      if (row.line !== place) this.body.insertBefore(row.line, place);
      if (row.line.nextSibling !== row.below) this.body.insertBefore(row.below, row.line.nextSibling);
      after = row.below;
    }
    // A button that is moved loses the focus.
    if (focused && focused !== root.activeElement && this.body.contains(focused)) focused.focus({ preventScroll: true });
    this.table.hidden = !this.rows.size;
  }

  toggle(id) {
    if (!this.open.delete(id)) this.open.add(id);
    this.drawRows();
  }

  tick() {
    for (const [id, row] of this.rows) if (this.state.rows[id]) row.tick(this.state.rows[id], this.now);
  }

  speak(head) {
    const now = performance.now();
    const stops = head.stopping && !this.stopped;
    if (now - this.spoken < SPOKEN && !stops) return;
    this.spoken = now;
    this.stopped = head.stopping;
    say(this.voice, `${this.title.textContent} ${head.facts}. ${head.rest}`);
  }

  remove() {
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
    this.model.off("change:snapshot", this.onSnapshot);
    this.model.off("msg:custom", this.onMessage);
  }
}

export default inSlot((model, el) => new Tracker(model, el));
