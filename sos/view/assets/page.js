// The page: views of traces, their timelines, and what lights what.
const data = JSON.parse(document.getElementById("data").textContent);
const KIND_NAMES = data.kinds;
const traces = data.traces.map((one) => new Trace(one));
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const views = [];
let active = null; // the view that the page's keys move

class View {
  constructor(id, index) {
    this.id = id;
    const copy = document.getElementById("view").content.cloneNode(true);
    this.root = copy.querySelector(".view");
    const find = (selector) => this.root.querySelector(selector);
    this.select = find("select");
    traces.forEach((trace, k) => this.select.append(new Option(trace.title, k)));
    this.select.addEventListener("change", () => this.show(Number(this.select.value)));
    find(".choose").hidden = traces.length < 2;
    this.slider = find("input[type=range]");
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.says = find(".says");
    this.figure = find(".drawing");
    this.playing = 0;
    this.tree = new TreePane(find(".tree"), `v${id}`, {
      light: (node) => this.light(-1, node >= 0 ? this.trace.born(node) : -1, node),
      go: (node) => this.go(this.trace.born(node)),
    });
    this.stream = new StreamPane(find(".stream"), `v${id}`, {
      light: (token, event) => this.light(token, event, event >= 0 ? this.trace.nodes[event] : -1),
      go: (event) => this.go(event),
    });
    this.root.addEventListener("click", (event) => {
      const { fold, go } = event.target.closest("button")?.dataset || {};
      if (fold) this.tree.fold(fold);
      if (go) this.move(go);
    });
    for (const kind of ["pointerdown", "focusin"]) this.root.addEventListener(kind, () => (active = this));
    document.getElementById("views").append(this.root);
    this.show(index);
  }

  show(index) {
    this.pause();
    const trace = traces[index];
    this.trace = trace;
    this.select.value = index;
    const find = (selector) => this.root.querySelector(selector);
    find(".only").textContent = traces.length < 2 ? trace.title : "";
    find(".problem").replaceChildren(
      ...trace.problem.given.map((part) => element("span", "given", part)),
      element("span", "arrow", "→"),
      element("span", "wanted", trace.problem.goal),
    );
    const { given, goal } = trace.problem;
    find(".problem").classList.toggle("long", given.length > 8 || [...given, goal].join(" ").length > 32);
    find(".problem").setAttribute("aria-label", trace.problem.task);
    find(".facts").replaceChildren(...this.facts());
    this.root.classList.toggle("solved", trace.solved);
    find(".tools").hidden = trace.numNodes < 30;
    find(".to-mistake").disabled = !trace.mistakeEvents.length;
    this.slider.max = trace.numEvents - 1;
    this.profile();
    this.tree.show(trace);
    this.stream.show(trace);
    this.go(trace.numEvents - 1, false);
  }

  facts() {
    const { trace } = this;
    const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
    const facts = [
      element("span", trace.solved ? "badge good" : "badge", trace.solved ? "solved" : "not solved"),
      element("span", trace.mistakeEvents.length ? "badge bad" : "badge", many(trace.mistakeEvents.length, "mistake")),
    ];
    if (!trace.solved || !trace.ending.startsWith("ends as solved")) facts.push(element("span", "badge", trace.ending));
    if (trace.stated) facts.push(element("span", "badge bad", `states another problem: ${trace.stated.short}`));
    const counts = [many(trace.numNodes, "node"), many(trace.numEvents, "event"), many(trace.tokens.length, "token")];
    facts.push(element("span", "counts", [...counts, trace.detail].filter(Boolean).join(" · ")));
    facts.at(-1).title = trace.detail;
    return facts;
  }

  /** The depth of the search over its events, with mistakes and the goal, as the slider's background. */
  profile() {
    const { trace } = this;
    const svg = this.root.querySelector(".profile");
    const last = Math.max(1, trace.numEvents - 1);
    const deepest = Math.max(1, trace.deepest);
    svg.setAttribute("viewBox", `0 0 ${last} 1`);
    const points = [];
    const step = Math.max(1, Math.floor(trace.numEvents / 2000)); // more are not to be seen
    for (let e = 0; e < trace.numEvents; e += step) {
      const node = trace.current[e];
      points.push(`L${e} ${(1 - (0.08 + 0.92 * (node >= 0 ? trace.depth[node] / deepest : 0))).toFixed(3)}`);
    }
    svg.querySelector(".area").setAttribute("d", `M0 1${points.join("")}L${last} 1Z`);
    const tick = (e) => `M${e} 0V1`;
    svg.querySelector(".ticks").setAttribute("d", trace.mistakeEvents.map(tick).join(""));
    svg.querySelector(".goal").setAttribute("d", trace.goalEvent >= 0 ? tick(trace.goalEvent) : "");
  }

  /** Move to an event; everything after it is faint. */
  go(event, follow = true) {
    const { trace } = this;
    this.event = Math.min(Math.max(event, 0), trace.numEvents - 1);
    this.slider.value = this.event;
    this.slider.setAttribute("aria-valuetext", `event ${this.event}: ${trace.sentence(this.event)}`);
    this.root.querySelector(".count").textContent = `${this.event} / ${trace.numEvents - 1}`;
    this.tree.goTo(this.event, follow);
    this.stream.goTo(this.event, follow);
    this.say(this.event);
    this.picture(trace.current[this.event]);
  }

  /** Draw the state of a node, where the environment draws its states. */
  picture(node) {
    const drawing = this.trace.drawing(node);
    this.figure.hidden = !drawing;
    if (!drawing) return;
    const state = this.trace.tree.states[node].join(", ");
    const told = drawing.kind === "maze" ? this.trace.toldUpTo(this.event) : [];
    this.figure.replaceChildren(draw(drawing, told), element("figcaption", "", `node ${node}: ${state}`));
    // It lies in the lower corner, or in the upper one where it would hide its node.
    this.figure.classList.toggle("up", this.tree.below(node) < this.figure.offsetHeight + 24);
  }

  say(event) {
    const mistake = this.trace.mistakes[event];
    const words = [element("b", "", `Event ${event}`), ` ${this.trace.sentence(event)}`];
    if (mistake && this.trace.kinds[event] !== REST) words.push(" ", element("em", "bad", `${mistake.name}: ${mistake.text}`));
    this.says.replaceChildren(...words);
  }

  /** Light a token (or -1), its event and its node, here and equal states in the other views. */
  light(token, event, node) {
    const { trace } = this;
    this.tree.light(node, this.twins(node >= 0 ? trace.keys[node] : null));
    this.stream.light(token, event, node >= 0 ? trace.eventsOf[node] : event >= 0 ? [event] : []);
    this.say(event >= 0 ? event : this.event);
    this.picture(node >= 0 ? node : trace.current[this.event]);
    for (const view of views) {
      if (view !== this) view.tree.light(-1, view.twins(node >= 0 ? trace.keys[node] : null));
    }
  }

  twins(key) {
    const found = new Set();
    if (key !== null) this.trace.keys.forEach((other, n) => other === key && found.add(n));
    return found;
  }

  move(name, direction = 1) {
    if (name !== "play") this.pause();
    const { trace } = this;
    if (name === "first") this.go(0);
    else if (name === "last") this.go(trace.numEvents - 1);
    else if (name === "back") this.go(this.event - 1);
    else if (name === "next") this.go(this.event + 1);
    else if (name === "goal" && trace.goalEvent >= 0) this.go(trace.goalEvent);
    else if (name === "mistake") {
      const found = trace.mistakeFrom(this.event, direction);
      if (found >= 0) this.go(found);
      else if (trace.mistakeEvents.length) this.go(trace.mistakeEvents.at(direction > 0 ? 0 : -1));
    } else if (name === "play") this.playing ? this.pause() : this.play();
  }

  /** Replay: two events a second, faster for long traces, so that none takes more than about a minute. */
  play() {
    const last = this.trace.numEvents - 1;
    if (this.event === last) this.go(0);
    const wait = Math.min(500, Math.max(30, 60000 / this.trace.numEvents));
    const step = Math.max(1, Math.round((this.trace.numEvents * wait) / 60000));
    this.says.setAttribute("aria-live", "off");
    this.playing = setInterval(() => {
      this.go(this.event + step);
      if (this.event === last) this.pause();
    }, wait);
    this.root.classList.add("playing");
  }

  pause() {
    clearInterval(this.playing);
    this.playing = 0;
    this.says.setAttribute("aria-live", "polite");
    this.root.classList.remove("playing");
  }
}

function arrange(count) {
  while (views.length > count) views.pop().root.remove();
  while (views.length < count) views.push(new View(views.length, Math.min(views.length, traces.length - 1)));
  document.body.classList.toggle("two", count > 1);
  active = views[0];
  for (const view of views) view.tree.draw();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const field = event.target.closest("select, input, summary, button");
  if (field && (event.key === " " || event.key === "Enter" || (!field.matches("button") && !/^[mg]$/i.test(event.key)))) return;
  const names = { ArrowRight: "next", ArrowDown: "next", ArrowLeft: "back", ArrowUp: "back", Home: "first", End: "last" };
  Object.assign(names, { " ": "play", m: "mistake", M: "mistake", g: "goal", G: "goal" });
  const name = names[event.key];
  if (!name) return;
  event.preventDefault();
  active.move(name, event.key === "M" ? -1 : 1);
});

const beside = document.getElementById("beside");
beside.closest("label").hidden = traces.length < 2;
beside.addEventListener("change", () => arrange(beside.checked ? 2 : 1));
beside.checked = /[#&]beside\b/.test(location.hash);
arrange(beside.checked && traces.length > 1 ? 2 : 1);
const asked = /[#&]event=(\d+)/.exec(location.hash);
if (asked) for (const view of views) view.go(Number(asked[1]));
