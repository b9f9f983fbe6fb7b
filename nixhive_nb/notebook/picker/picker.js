// The target picker: a filter, chips, a list that draws only what can be seen, and a selection that keeps its order.
//
// `table` comes once from Python, `compact` in picker.py tells its form. `value` holds the names that are selected, in
// order, and `done` that no more will be; several views of one model share both, while filter, chips and keyboard are of
// each view alone. Text from deployments and hosts is set as `textContent`, and nothing is ever parsed as HTML.

const ROW = 26; // pixels, as --hp-row in picker.css
const ROWS = 12; // at most so many are seen at once
const AROUND = 6; // rows drawn above and below those that are seen
const CHIPS = 12; // of each kind, before "more"
const NAMED = 8; // names in the line about the selection
const PAUSE = 700; // milliseconds between two things that a screen reader is told
const DONE = "Leave a table of what is selected in the place of this picker";
const WAITING = "The kernel hears it when it is free";

const KINDS = { tag: "tags", system: "systems", state: "runs" };

/** Give the table with what is looked up again and again. */
function prepare(table) {
  const names = table.names.map((name, row) => table.plain[row] ?? name);
  const lower = (texts) => texts.map((text) => text.toLowerCase());
  const field = {
    name: lower(names),
    system: lower(table.systems),
    tag: lower(table.sets.map((set) => set.map((tag) => table.tags[tag]).join("\n"))),
    via: lower(table.vias),
  };
  const text = {
    name: (row) => field.name[row],
    system: (row) => field.system[table.system[row]],
    tag: (row) => field.tag[table.set[row]],
    via: (row) => field.via[table.via[row]],
  };
  const all = names.map((_, row) => Object.keys(text).map((key) => text[key](row)).join("\n"));
  return {
    ...table,
    size: names.length,
    shownNames: names,
    states: table.runs.map((one) => one.text),
    state: table.run,
    text: { ...text, all: (row) => all[row] },
  };
}

/** Give the test of one word: a part of the text, a glob over the whole of it, or either in one field (`tag:web`). */
function tester(data, word) {
  const [, field, wanted] = /^(name|system|tag|via):(.*)$/.exec(word) ?? [null, "all", word];
  const text = data.text[field];
  if (!/[*?]/.test(wanted)) return (row) => text(row).includes(wanted);
  const signs = { "*": "[^\n]*", "?": "[^\n]" };
  const source = wanted.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/[*?]/g, (sign) => signs[sign]);
  const glob = new RegExp(`^${source}$`, "m");
  return (row) => glob.test(text(row));
}

/** Give the rows that pass, and for each chip how many would pass with it. Tags narrow down, the others widen. */
function narrowed(data, query, chosen) {
  const tests = query.toLowerCase().split(/\s+/).filter(Boolean).map((word) => tester(data, word));
  const tagsPass = data.sets.map((set) => [...chosen.tag].every((tag) => set.includes(tag)));
  const passes = (kind, one) => !chosen[kind].size || chosen[kind].has(one);
  const counts = {
    tag: new Array(data.tags.length).fill(0),
    system: new Array(data.systems.length).fill(0),
    state: new Array(data.states.length).fill(0),
  };
  const rows = [];
  for (let row = 0; row < data.size; row += 1) {
    const set = data.set[row];
    const system = data.system[row];
    const state = data.state[row];
    const systemPasses = passes("system", system);
    const statePasses = passes("state", state);
    if (tagsPass[set] + systemPasses + statePasses < 2 || !tests.every((test) => test(row))) continue;
    if (tagsPass[set] && statePasses) counts.system[system] += 1;
    if (tagsPass[set] && systemPasses) counts.state[state] += 1;
    if (!tagsPass[set] || !systemPasses || !statePasses) continue;
    rows.push(row);
    for (const tag of data.sets[set]) counts.tag[tag] += 1;
  }
  return { rows, counts };
}

/** Give the chips of each kind, those with most instances first. Kinds that tell nothing apart have none. */
function chipsOf(data, counts) {
  const most = (kind, texts, fits) =>
    texts
      .map((text, at) => ({ kind, text, at, total: counts[kind][at] }))
      .filter((chip) => chip.text && fits(chip.at))
      .sort((one, other) => other.total - one.total || one.text.localeCompare(other.text));
  return {
    tag: most("tag", data.tags, () => true),
    system: most("system", data.systems, () => data.systems.length > 1),
    state: most("state", data.states, (at) => data.runs[at].tone !== "ok"),
  };
}

const number = (count) => count.toLocaleString("en");

/** Make an element with a class, a text and attributes. */
function make(tag, name, text = "", attributes = {}) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function button(text, attributes = {}) {
  return make("button", "hp-button", text, { type: "button", ...attributes });
}

class View {
  constructor(model, el) {
    this.model = model;
    this.data = prepare(model.get("table"));
    this.picked = new Set(model.get("value"));
    this.chosen = { tag: new Set(), system: new Set(), state: new Set() };
    this.rows = [];
    this.active = 0; // where in `rows` the keyboard stands
    this.anchor = 0; // where a range begins
    this.base = null; // what was selected before the range
    this.drawn = new Map(); // row → its element
    this.id = `hp-${Math.random().toString(36).slice(2)}`;
    this.build();
    this.listen();
    el.append(this.root);
    this.narrow();
  }

  build() {
    this.root = make("div", "hive-picker", "", { role: "group", "aria-label": "Choose targets" });
    this.filter = make("input", "hp-filter", "", {
      type: "search",
      placeholder: "Filter: name, system, tag, via",
      "aria-label": "Filter instances by name, system, tag or via",
      "aria-controls": `${this.id}-list`,
      autocomplete: "off",
      spellcheck: "false",
    });
    this.count = make("span", "hp-dim hp-count");
    this.showAll = button("Show all", { title: "Take the filter and the chips away" });
    this.showAll.classList.add("hp-quiet");
    this.select = button("Select shown");
    this.clear = button("Clear");
    const head = make("div", "hp-head");
    head.append(this.filter, this.count, this.showAll, make("span", "hp-space"), this.select, this.clear);
    this.list = make("div", "hp-list", "", {
      id: `${this.id}-list`,
      role: "listbox",
      tabindex: "0",
      "aria-multiselectable": "true",
      "aria-label": "Instances",
    });
    this.list.style.height = `${Math.min(Math.max(this.data.size, 1), ROWS) * ROW}px`;
    this.sheet = make("div", "hp-sheet", "", { role: "presentation" });
    this.list.append(this.sheet);
    this.nothing = make("div", "hp-nothing hp-dim", this.data.size ? "No instance matches." : "There are no instances.");
    this.line = make("div", "hp-dim hp-line");
    this.done = button("Done");
    const foot = make("div", "hp-foot");
    foot.append(this.line, this.done);
    this.spoken = make("div", "hp-spoken", "", { "aria-live": "polite", role: "status" });
    this.root.append(head, this.buildChips(), this.buildHeader(), this.list, foot, this.spoken);
    this.paintDone();
  }

  /** The columns that say something, each with how to fill it. */
  columns() {
    const { data } = this;
    const columns = [
      ["instance", "hp-name", (row) => data.shownNames[row], 1.6],
      ["system", "", (row) => data.systems[data.system[row]], 1],
    ];
    const tags = (row) => data.sets[data.set[row]].map((tag) => data.tags[tag]).join(" ");
    if (data.tags.length) columns.push(["tags", "hp-dim", tags, 1.2]);
    if (data.vias.some(Boolean)) columns.push(["via", "", (row) => data.vias[data.via[row]], 1]);
    const runs = (row) => {
      const { symbol, text } = data.runs[data.run[row]];
      return symbol ? `${symbol} ${text}` : text;
    };
    if (data.runs.some((one) => one.text)) columns.push(["runs", "hp-runs", runs, 1.9]);
    return columns;
  }

  buildHeader() {
    this.cells = this.columns();
    const widths = this.cells.map(([, , , share]) => `minmax(0, ${share}fr)`);
    this.root.style.setProperty("--hp-columns", `22px ${widths.join(" ")}`);
    this.header = make("div", "hp-header hp-dim", "", { "aria-hidden": "true" });
    this.header.append(make("span"), ...this.cells.map(([title]) => make("span", "", title)));
    return this.header;
  }

  buildChips() {
    const { counts } = narrowed(this.data, "", this.chosen);
    this.chips = [];
    this.more = [];
    this.bar = make("div", "hp-chips", "", { role: "toolbar", "aria-label": "Narrow down by tag, system and state" });
    for (const [kind, chips] of Object.entries(chipsOf(this.data, counts))) {
      if (!chips.length) continue;
      const group = make("span", "hp-group", "", { role: "group", "aria-label": KINDS[kind] });
      group.append(make("span", "hp-kind hp-dim", KINDS[kind], { "aria-hidden": "true" }));
      for (const chip of chips) group.append(this.buildChip(chip));
      if (chips.length > CHIPS) group.append(this.buildMore(chips));
      this.bar.append(group);
    }
    this.bar.hidden = !this.chips.length;
    this.stops()[0]?.setAttribute("tabindex", "0");
    return this.bar;
  }

  buildChip(chip) {
    chip.element = make("button", "hp-chip", "", { type: "button", tabindex: "-1", "aria-pressed": "false" });
    chip.amount = make("span", "hp-amount");
    chip.element.append(make("span", "", chip.text), chip.amount);
    chip.element.hidden = this.chips.filter((other) => other.kind === chip.kind).length >= CHIPS;
    chip.element.addEventListener("click", () => {
      const chosen = this.chosen[chip.kind];
      if (!chosen.delete(chip.at)) chosen.add(chip.at);
      this.stopAt(chip.element);
      this.narrow();
    });
    this.chips.push(chip);
    return chip.element;
  }

  /** A button that shows the chips behind the first ones; those that are on stay when it is closed again. */
  buildMore(chips) {
    const rest = chips.slice(CHIPS);
    const more = make("button", "hp-chip hp-more", "", { type: "button", tabindex: "-1", "aria-expanded": "false" });
    const closed = `${number(rest.length)} more`;
    more.textContent = closed;
    more.addEventListener("click", () => {
      const open = more.getAttribute("aria-expanded") !== "true";
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? "fewer" : closed;
      for (const chip of rest) chip.element.hidden = !open && !this.chosen[chip.kind].has(chip.at);
      this.stopAt(more);
    });
    this.more.push(more);
    return more;
  }

  listen() {
    this.filter.addEventListener("input", () => this.narrow());
    this.showAll.addEventListener("click", () => this.widen());
    this.select.addEventListener("click", () => this.selectShown());
    this.clear.addEventListener("click", () => this.clearShown());
    this.done.addEventListener("click", () => this.finish());
    this.list.addEventListener("scroll", () => this.draw());
    this.list.addEventListener("focus", () => this.draw());
    this.list.addEventListener("blur", () => this.draw());
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.onKey = (event) => this.key(event);
    // Notebook 7 hears keys on their way down from the document, where A inserts a cell and D D deletes one. Only the
    // window is above it.
    window.addEventListener("keydown", this.onKey, true);
    this.onValue = () => {
      this.picked = new Set(this.model.get("value"));
      this.draw();
      this.tell();
    };
    this.onDone = () => this.paintDone();
    this.onAsked = (said) => { if (said.asks) this.say({ answers: said.asks }); };
    this.model.on("msg:custom", this.onAsked);
    this.model.on("change:value", this.onValue);
    this.model.on("change:done", this.onDone);
  }

  // Nobody hears what is selected any more.
  gone(words) {
    this.root.inert = true;
    this.root.classList.add("hp-gone");
    this.root.after(make("div", "hp-dim hp-lost", words, { role: "status" }));
  }

  remove() {
    window.removeEventListener("keydown", this.onKey, true);
    this.model.off("change:value", this.onValue);
    this.model.off("change:done", this.onDone);
    this.model.off("msg:custom", this.onAsked);
    clearTimeout(this.timer);
    this.root.remove();
  }

  // What is shown.

  get isNarrow() {
    return this.filter.value.trim() !== "" || Object.values(this.chosen).some((chosen) => chosen.size);
  }

  /** Show what the filter and the chips let through; the keyboard stays on its instance where that is shown. */
  narrow() {
    const before = this.rows[this.active];
    const { rows, counts } = narrowed(this.data, this.filter.value, this.chosen);
    this.rows = rows;
    this.active = Math.max(rows.indexOf(before), 0);
    this.restart();
    for (const chip of this.chips) this.paintChip(chip, counts[chip.kind][chip.at]);
    this.sheet.style.height = `${rows.length * ROW}px`;
    this.reveal();
    this.draw();
    this.tell();
  }

  widen() {
    this.filter.value = "";
    for (const chosen of Object.values(this.chosen)) chosen.clear();
    this.filter.focus();
    this.narrow();
  }

  paintChip(chip, count) {
    const on = this.chosen[chip.kind].has(chip.at);
    const label = `${chip.kind} ${chip.text}: ${number(count)} match`;
    chip.amount.textContent = ` ${number(count)}`;
    chip.element.setAttribute("aria-pressed", String(on));
    chip.element.setAttribute("aria-label", label);
    chip.element.title = label;
    chip.element.classList.toggle("hp-empty", !count && !on);
  }

  /** Draw the rows that can be seen and that of the keyboard, and no more. */
  draw() {
    const top = this.list.scrollTop;
    const height = this.list.clientHeight || ROWS * ROW;
    const first = Math.max(Math.floor(top / ROW) - AROUND, 0);
    const last = Math.min(Math.ceil((top + height) / ROW) + AROUND, this.rows.length);
    const places = [];
    for (let place = first; place < last; place += 1) places.push(place);
    if (this.rows.length && this.active < first) places.unshift(this.active);
    if (this.rows.length && this.active >= last) places.push(this.active);
    const before = this.drawn;
    this.drawn = new Map(places.map((place) => [this.rows[place], before.get(this.rows[place]) ?? this.option(place)]));
    const elements = [...this.drawn.values()];
    const same = elements.length === this.sheet.children.length && elements.every((one, at) => one === this.sheet.children[at]);
    if (!same) this.sheet.replaceChildren(...elements);
    places.forEach((place) => this.paint(place));
    this.drawFrame();
  }

  option(place) {
    const row = this.rows[place];
    const option = make("div", "hp-row", "", { role: "option", id: `${this.id}-${row}` });
    option.append(make("span", "hp-check"));
    const words = [];
    for (const [title, name, fill] of this.cells) {
      const text = fill(row);
      option.append(make("span", name, text, { title: text }));
      if (text) words.push(title === "instance" ? text : `${title} ${text}`);
    }
    option.setAttribute("aria-label", words.join(", "));
    option.dataset.tone = this.data.runs[this.data.run[row]].tone;
    return option;
  }

  paint(place) {
    const row = this.rows[place];
    const option = this.drawn.get(row);
    const on = this.picked.has(this.data.names[row]);
    option.dataset.place = place;
    option.style.top = `${place * ROW}px`;
    option.setAttribute("aria-selected", String(on));
    option.setAttribute("aria-posinset", place + 1);
    option.setAttribute("aria-setsize", this.rows.length);
    option.classList.toggle("hp-active", place === this.active);
    option.firstChild.textContent = on ? "☑" : "☐";
  }

  /** Draw all that stands around the rows. */
  drawFrame() {
    const { data, rows, picked } = this;
    this.header.style.paddingRight = `${this.list.offsetWidth - this.list.clientWidth}px`;
    if (rows.length) this.nothing.remove();
    else this.list.append(this.nothing);
    if (rows.length) this.list.setAttribute("aria-activedescendant", `${this.id}-${rows[this.active]}`);
    else this.list.removeAttribute("aria-activedescendant");
    const instances = data.size === 1 ? "1 instance" : `${number(data.size)} instances`;
    this.counted = this.isNarrow ? `${number(rows.length)} of ${number(data.size)} shown` : instances;
    this.count.textContent = this.counted;
    this.showAll.hidden = !this.isNarrow;
    this.clear.textContent = this.isNarrow ? "Clear shown" : "Clear";
    this.drawLine(picked.size ? this.hidden() : 0);
  }

  /** How many are selected that are not shown. */
  hidden() {
    if (!this.isNarrow) return 0;
    let shown = 0;
    for (const row of this.rows) if (this.picked.has(this.data.names[row])) shown += 1;
    return this.picked.size - shown;
  }

  drawLine(hidden) {
    const { size } = this.picked;
    if (!size) {
      this.line.textContent = "Nothing is selected.";
      return;
    }
    const names = [...this.picked].slice(0, NAMED).map((name) => this.nameShown(name)).join(", ");
    const more = size > NAMED ? ` and ${number(size - NAMED)} more` : "";
    const aside = hidden ? ` (${number(hidden)} not shown)` : "";
    const many = `${number(size)} selected${aside}${size > 1 ? ", in this order" : ""}`;
    this.line.replaceChildren(`${many}: ${names}${more} → `, make("code", "", "%hive deploy @picked"));
  }

  nameShown(name) {
    this.places ??= new Map(this.data.names.map((one, row) => [one, row]));
    return this.data.shownNames[this.places.get(name)] ?? name;
  }

  /** Tell a screen reader how things stand, once they have come to rest for a moment. */
  tell() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const selected = `${this.counted}, ${number(this.picked.size)} selected`;
      this.spoken.textContent = this.isDone ? `Done. ${WAITING}.` : selected;
    }, PAUSE);
  }

  // What is selected.

  get isDone() {
    return this.model.get("done");
  }

  /** End the choosing. Python hears it, and what was selected before it, when its kernel is free. */
  finish() {
    if (this.isDone) return;
    this.model.set("done", true);
    this.model.save_changes();
    // This view will be gone, and the keyboard would stand nowhere: it goes on from the cell.
    this.root.parentElement.closest("[tabindex]")?.focus();
  }

  paintDone() {
    this.done.textContent = this.isDone ? "Done…" : "Done";
    this.done.title = this.isDone ? WAITING : DONE;
    this.done.setAttribute("aria-disabled", String(this.isDone));
    this.root.classList.toggle("hp-waiting", this.isDone);
    this.tell();
  }

  /**
   * Select these. Jupyter holds a state back while the kernel is busy, behind what is run next, and a message it does not;
   * but it may send some of both by another way than the others. So they are numbered.
   */
  setPicked(names) {
    if (this.isDone) return;
    this.model.set("at", this.model.get("at") + 1);
    this.model.set("value", [...names]);
    this.model.save_changes();
    this.say();
  }

  say(more = {}) {
    this.model.send({ picked: this.model.get("value"), at: this.model.get("at"), ...more });
  }

  selectShown() {
    this.base = null;
    this.setPicked(new Set([...this.picked, ...this.rows.map((row) => this.data.names[row])]));
  }

  clearShown() {
    this.base = null;
    const shown = new Set(this.rows.map((row) => this.data.names[row]));
    this.setPicked([...this.picked].filter((name) => !shown.has(name)));
  }

  toggle(place) {
    this.base = null;
    this.anchor = place;
    const name = this.data.names[this.rows[place]];
    const picked = new Set(this.picked);
    if (!picked.delete(name)) picked.add(name);
    this.setPicked(picked);
  }

  /** Select from the anchor to the keyboard, beside what was selected before; a range may shrink again. */
  range() {
    this.base ??= new Set(this.picked);
    const step = this.active < this.anchor ? -1 : 1;
    const names = [];
    for (let place = this.anchor; place !== this.active + step; place += step) {
      names.push(this.data.names[this.rows[place]]);
    }
    this.setPicked(new Set([...this.base, ...names]));
  }

  clicked(event) {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    this.active = Number(option.dataset.place);
    if (event.shiftKey) this.range();
    else this.toggle(this.active);
    this.draw();
  }

  // The keyboard.

  key(event) {
    const target = event.composedPath()[0];
    if (!this.root.contains(target)) return;
    const used = this.use(event, target);
    if (used) event.preventDefault();
    // A letter that is not meant for the notebook must not get there: no shortcuts but those with Ctrl, Alt or Meta.
    // There, Enter on a button would begin to edit the cell.
    const plain = !event.ctrlKey && !event.altKey && !event.metaKey;
    const typed = plain && event.key.length === 1 && target !== this.filter;
    const pressed = plain && !event.shiftKey && event.key === "Enter" && target.matches("button");
    if (used || typed || pressed) event.stopPropagation();
  }

  /** Act on a key; tell whether it had a meaning. */
  use(event, target) {
    if (event.altKey) return false;
    const command = event.ctrlKey || event.metaKey;
    if (target === this.list) return command ? this.useCommand(event) : this.useInList(event);
    if (command) return false;
    if (target === this.filter) return this.useInFilter(event);
    return this.bar.contains(target) && this.useInChips(event, target);
  }

  useCommand(event) {
    if (event.key !== "a" || event.shiftKey) return false;
    if (this.rows.every((row) => this.picked.has(this.data.names[row]))) this.clearShown();
    else this.selectShown();
    return true;
  }

  useInFilter(event) {
    if (event.key !== "ArrowDown" || event.shiftKey || event.isComposing) return false;
    this.list.focus();
    return true;
  }

  useInList(event) {
    if (event.key === " ") {
      if (this.rows.length && event.shiftKey) this.range();
      else if (this.rows.length) this.toggle(this.active);
      return true;
    }
    const page = ROWS - 1;
    const last = this.rows.length - 1;
    const to = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return false;
    if (last < 0) return true;
    this.active = Math.min(Math.max(to, 0), last);
    this.reveal();
    if (event.shiftKey) this.range();
    else this.restart();
    this.draw();
    return true;
  }

  /** A range begins where the keyboard stands now. */
  restart() {
    this.base = null;
    this.anchor = this.active;
  }

  /** Scroll so that the row of the keyboard is seen. */
  reveal() {
    const top = this.active * ROW;
    const height = this.list.clientHeight || ROWS * ROW;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + ROW > this.list.scrollTop + height) this.list.scrollTop = top + ROW - height;
  }

  /** The chips that can be seen: one stop for Tab, arrows go from one to the next. */
  stops() {
    return [...this.bar.querySelectorAll("button")].filter((one) => !one.hidden);
  }

  stopAt(element) {
    for (const one of this.bar.querySelectorAll("button")) one.tabIndex = one === element ? 0 : -1;
  }

  useInChips(event, target) {
    const stops = this.stops();
    const at = stops.indexOf(target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: stops.length - 1 }[event.key];
    if (to === undefined || event.shiftKey) return false;
    const next = stops[(to + stops.length) % stops.length];
    this.stopAt(next);
    next.focus();
    return true;
  }
}

export default inSlot((model, el) => new View(model, el));
