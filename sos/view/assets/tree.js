// The tree, root on the left and in order of exploration downwards. Only what is in sight is in the document.
const ROW = 30;
const PILL = 22;
const MARGIN = 18;
const GAP = 30; // between the columns, where the edges bend
const MANY_ROWS = 150; // a tree with more starts with its dead branches folded
const OVERSCAN = 400;
const SMALLEST = 0.85; // scale of a tree too wide for its pane
const LARGEST = 1.6; // of one that leaves room

/** A function text -> width in a font: the sum of its characters' widths, each measured once. */
function ruler(font) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font;
  const widths = new Map();
  return (text) => {
    let sum = 0;
    for (const character of text) {
      if (!widths.has(character)) widths.set(character, context.measureText(character).width);
      sum += widths.get(character);
    }
    return sum;
  };
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

class TreePane {
  /** `on` has light(node or -1) for hovering and go(node) for choosing. */
  constructor(root, id, on) {
    this.root = root;
    this.id = id;
    this.on = on;
    this.canvas = root.querySelector(".canvas");
    this.extent = root.querySelector(".extent");
    this.holder = root.querySelector(".nodes");
    this.svg = root.querySelector("svg");
    this.paths = Object.fromEntries([...root.querySelectorAll("path")].map((path) => [path.classList[0], path]));
    this.pool = new Map(); // node -> its element
    let due = false;
    const redraw = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        if (this.trace) this.draw();
      });
    };
    root.addEventListener("scroll", redraw, { passive: true });
    new ResizeObserver(() => {
      if (this.trace) this.fit();
      redraw();
    }).observe(root);
    root.addEventListener("mouseover", (event) => on.light(this.nodeAt(event.target)));
    root.addEventListener("mouseleave", () => on.light(-1));
    root.addEventListener("click", (event) => {
      const node = this.nodeAt(event.target);
      if (node < 0) return;
      if (event.target.closest(".fold")) this.toggle(node);
      else on.go(node);
    });
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("focus", () => this.focus(this.trace.current[this.event]));
    root.addEventListener("blur", () => {
      this.focused = -1;
      on.light(-1);
    });
  }

  nodeAt(target) {
    const found = target.closest(".node");
    return found ? Number(found.dataset.node) : -1;
  }

  show(trace) {
    this.trace = trace;
    this.size = null;
    this.event = trace.numEvents - 1;
    this.lit = -1;
    this.focused = -1;
    this.twins = new Set();
    this.folded = new Set();
    this.opened = new Set(); // ancestors of the current node, which stay open
    this.holder.textContent = "";
    this.pool.clear();
    const { fontFamily } = getComputedStyle(this.root);
    const inPill = ruler(`600 13px ${fontFamily}`);
    const inLabel = ruler(`11px ${fontFamily}`);
    const inBold = ruler(`600 11px ${fontFamily}`);
    const { states, actions, parents } = trace.tree;
    const depths = trace.deepest + 1;
    this.labelWidth = new Float64Array(depths);
    const pillWidth = new Float64Array(depths);
    this.pillWidth = new Float64Array(trace.numNodes);
    for (let n = 0; n < trace.numNodes; n++) {
      const depth = trace.depth[n];
      this.pillWidth[n] = Math.ceil(inPill(states[n].join("  "))) + 20;
      pillWidth[depth] = Math.max(pillWidth[depth], this.pillWidth[n]);
      if (n > 0) {
        const label = (trace.onPath[n] ? inBold : inLabel)(`${n} ${actions[n]}`) + 26;
        this.labelWidth[depth] = Math.max(this.labelWidth[depth], Math.ceil(label));
      }
    }
    this.columns = new Float64Array(depths);
    this.columns[0] = MARGIN;
    for (let d = 1; d < depths; d++) {
      this.columns[d] = this.columns[d - 1] + this.labelWidth[d - 1] + pillWidth[d - 1] + GAP;
    }
    let widest = 0;
    for (let n = 0; n < trace.numNodes; n++) {
      const words = trace.children[n].length ? `+${trace.numBelow[n]}` : trace.markWords(n);
      widest = Math.max(widest, this.right(n) + inLabel(words) + 30);
    }
    this.layout();
    this.size = [widest + MARGIN, this.rows * ROW + 2 * MARGIN]; // unfolded
    this.fit();
    if (this.rows > MANY_ROWS) this.fold("dead");
    this.root.scrollTop = 0;
    this.root.scrollLeft = 0;
  }

  /** The right end of a node. */
  right(node) {
    const depth = this.trace.depth[node];
    return this.columns[depth] + this.labelWidth[depth] + this.pillWidth[node];
  }

  /** Scale the tree to its pane: a small one up, a wide one down a little. */
  fit() {
    const [width, height] = this.size;
    const across = this.root.clientWidth / width;
    const down = this.root.clientHeight / height;
    this.scale = Math.min(Math.max(across < 1 ? across : Math.min(across, down, LARGEST), across < 1 ? SMALLEST : 1), LARGEST);
    this.place();
  }

  place() {
    const width = this.size[0] * this.scale;
    const height = (this.rows * ROW + 2 * MARGIN) * this.scale;
    this.extent.style.width = `${width}px`;
    this.extent.style.height = `${height}px`;
    this.left = Math.max(0, Math.min((this.root.clientWidth - width) / 2, 60));
    this.top = Math.max(0, (this.root.clientHeight - height) / 2.6);
    this.canvas.style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.scale})`;
  }

  /** What the pane shows, in the tree's own units. */
  sight() {
    const { scrollTop, scrollLeft, clientHeight, clientWidth } = this.root;
    const at = (value, offset) => (value - offset) / this.scale;
    return {
      top: at(scrollTop, this.top),
      bottom: at(scrollTop + clientHeight, this.top),
      left: at(scrollLeft, this.left),
      right: at(scrollLeft + clientWidth, this.left),
    };
  }

  /** Fold the branches off the solution path ("dead"; without a solution, all below the root's children), or none. */
  fold(which) {
    this.folded.clear();
    this.opened.clear();
    if (which === "dead") {
      const { trace } = this;
      const { parents } = trace.tree;
      for (let n = 0; n < trace.numNodes; n++) {
        const off = trace.goalNode >= 0 ? !trace.onPath[n] : parents[n] >= 0;
        if (trace.children[n].length && off) this.folded.add(n);
      }
    }
    this.layout();
    this.draw();
  }

  isOpen(node) {
    return this.opened.has(node) || !this.folded.has(node);
  }

  toggle(node) {
    if (!this.trace.children[node].length) return;
    if (this.isOpen(node)) {
      this.folded.add(node);
      this.opened.delete(node);
    } else this.folded.delete(node);
    this.layout();
    this.draw();
  }

  /** Give rows to the nodes that no folded ancestor hides. `order` lists them as they were explored, parents first. */
  layout() {
    const { trace } = this;
    this.order = [];
    this.first = new Float64Array(trace.numNodes).fill(-1); // rows of the subtree; -1: hidden
    this.last = new Float64Array(trace.numNodes);
    this.middle = new Float64Array(trace.numNodes);
    const stack = [...trace.roots].reverse();
    let rows = 0;
    while (stack.length) {
      const n = stack.pop();
      this.order.push(n);
      this.first[n] = rows;
      const open = trace.children[n].length > 0 && this.isOpen(n);
      if (open) for (let k = trace.children[n].length - 1; k >= 0; k--) stack.push(trace.children[n][k]);
      else {
        this.last[n] = this.middle[n] = rows;
        rows++;
      }
    }
    for (let k = this.order.length - 1; k >= 0; k--) {
      const n = this.order[k];
      const children = trace.children[n];
      if (children.length && this.isOpen(n)) {
        const end = children[children.length - 1];
        this.last[n] = this.last[end];
        this.middle[n] = (this.middle[children[0]] + this.middle[end]) / 2;
      }
    }
    this.rows = rows;
    if (this.size) this.place();
  }

  /** The node itself, or the folded ancestor that hides it. */
  visible(node) {
    let n = node;
    while (n >= 0 && this.first[n] < 0) n = this.trace.tree.parents[n];
    return n;
  }

  /** Where a node is drawn: the middle of its children, kept in sight as long as one of them is. */
  y(node, { top, bottom }) {
    const at = (row) => MARGIN + (row + 0.5) * ROW;
    const wanted = Math.min(Math.max(at(this.middle[node]), top + MARGIN), bottom - MARGIN);
    return Math.min(Math.max(wanted, at(this.first[node])), at(this.last[node]));
  }

  draw() {
    const { trace } = this;
    const { parents } = trace.tree;
    const sight = this.sight();
    const current = this.visible(trace.current[this.event]);
    const lit = this.visible(this.lit);
    const litLine = new Set(trace.lineage(lit));
    const nowLine = new Set(trace.lineage(current));
    const lines = { plain: [], ghost: [], wrong: [], now: [], solution: [], lit: [] };
    const inSight = new Set();
    const ys = new Map();
    const placed = (n) => {
      if (!ys.has(n)) ys.set(n, this.y(n, sight));
      return ys.get(n);
    };
    for (const n of this.order) {
      const end = MARGIN + (this.last[n] + 1) * ROW;
      if (end < sight.top - OVERSCAN || MARGIN + this.first[n] * ROW > sight.bottom + OVERSCAN) continue;
      inSight.add(n);
      const made = this.pool.get(n) || this.make(n);
      const x = this.columns[trace.depth[n]];
      made.style.transform = `translate(${x}px, ${placed(n) - ROW / 2}px)`;
      const future = trace.born(n) > this.event;
      made.className = [
        "node",
        trace.onPath[n] ? "solution" : trace.goalNode >= 0 ? "off" : "",
        n === trace.goalNode ? "goal" : "",
        trace.dead[n] && !trace.children[n].length ? "dead" : "",
        trace.wrong[n] ? "wrong" : "",
        future ? "future" : "",
        n === current ? "current" : "",
        n === lit ? "lit" : "",
        n === this.focused ? "focused" : "",
        this.twins.has(n) && n !== lit ? "twin" : "",
      ].join(" ");
      made.setAttribute("aria-selected", n === current);
      const inner = trace.children[n].length > 0;
      if (inner) {
        const open = this.isOpen(n);
        made.setAttribute("aria-expanded", open);
        const button = made.querySelector(".fold");
        button.textContent = open ? "−" : `+${trace.numBelow[n]}`;
        button.classList.toggle("open", open);
        button.classList.toggle("hides", !open && trace.wrongBelow[n] > 0);
      }
      if (parents[n] >= 0) {
        const parent = parents[n];
        const line = this.edge(this.right(parent), placed(parent), x, placed(n), x + this.labelWidth[trace.depth[n]]);
        const kind = future ? "ghost" : trace.onPath[n] ? "solution" : trace.wrong[n] ? "wrong" : "plain";
        lines[kind].push(line);
        if (nowLine.has(n)) lines.now.push(line);
        if (litLine.has(n)) lines.lit.push(line);
      }
    }
    for (const [n, made] of this.pool) {
      if (!inSight.has(n)) {
        made.remove();
        this.pool.delete(n);
      }
    }
    for (const [name, parts] of Object.entries(lines)) this.paths[name].setAttribute("d", parts.join(""));
    this.paths.return.setAttribute("d", this.returnLine(sight));
    const active = this.focused >= 0 ? this.visible(this.focused) : -1;
    if (active >= 0) this.root.setAttribute("aria-activedescendant", `${this.id}-n${active}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  edge(x0, y0, x1, y1, end) {
    const bend = x1 - GAP;
    const half = GAP / 2;
    return `M${x0} ${y0}H${bend}C${bend + half} ${y0} ${bend + half} ${y1} ${x1} ${y1}H${end}`;
  }

  /** An arrow for the return or the jump of the current event. */
  returnLine(sight) {
    const { trace } = this;
    if (this.event < 1 || ![EXPAND, BACKTRACK].includes(trace.kinds[this.event])) return "";
    const from = this.visible(trace.current[this.event - 1]);
    const to = this.visible(trace.nodes[this.event]);
    if (from < 0 || to < 0 || from === to || trace.tree.parents[to] === from) return "";
    const [x0, y0] = [this.right(from) - this.pillWidth[from] / 2, this.y(from, sight) + PILL / 2];
    const [x1, y1] = [this.right(to) - this.pillWidth[to] / 2, this.y(to, sight) + PILL / 2];
    return `M${x0} ${y0}C${x0} ${y0 + 34} ${x1} ${Math.max(y1 + 34, y0 + 34)} ${x1} ${y1 + 3}m-4 6l4 -6l5 5`;
  }

  make(n) {
    const { trace } = this;
    const { parents, states, actions, results } = trace.tree;
    const made = element("div", "node");
    made.id = `${this.id}-n${n}`;
    made.dataset.node = n;
    made.setAttribute("role", "treeitem");
    const siblings = parents[n] < 0 ? trace.roots : trace.children[parents[n]];
    made.setAttribute("aria-level", trace.depth[n] + 1);
    made.setAttribute("aria-setsize", siblings.length);
    made.setAttribute("aria-posinset", siblings.indexOf(n) + 1);
    const mistakes = trace.mistakesOf(n);
    const marks = [];
    if (n === trace.goalNode) marks.push("goal");
    else if (trace.dead[n] && !trace.children[n].length) marks.push("dead end");
    // What is seen, word for word and in its order, is a part of what is read out (WCAG 2.5.3).
    made.setAttribute(
      "aria-label",
      [`node ${n}`, actions[n], states[n].join(", "), ...mistakes.map((one) => one.name), ...marks].filter(Boolean).join("; "),
    );
    const label = element("span", "label");
    label.style.width = `${this.labelWidth[trace.depth[n]]}px`;
    if (n > 0) label.append(element("i", "order", n), " ", element("span", "action", actions[n]), " ");
    const pill = element("span", "pill");
    pill.style.width = `${this.pillWidth[n]}px`;
    const made_at = n > 0 ? states[n].lastIndexOf(results[n]) : -1;
    states[n].forEach((part, k) => pill.append(k > 0 ? " " : "", element(k === made_at ? "b" : "span", "", part)));
    made.append(label, pill);
    if (trace.children[n].length) {
      const button = element("button", "fold");
      button.type = "button";
      button.tabIndex = -1;
      button.setAttribute("aria-hidden", "true");
      made.append(button);
    }
    if (mistakes.length) {
      const inner = trace.children[n].length > 0; // edges start where a leaf has room for words
      const mark = element("span", inner ? "mark error inner" : "mark error", inner ? "!" : trace.markWords(n));
      mark.title = mistakes.map((one) => `${one.name}: ${one.text}`).join("\n");
      (inner ? pill : made).append(mark);
    } else if (marks.length) made.append(element("span", n === trace.goalNode ? "mark reached" : "mark dropped"));
    this.holder.append(made);
    this.pool.set(n, made);
    return made;
  }

  /** Move to an event: its node becomes the current one, in sight and not hidden. */
  goTo(event, follow) {
    this.event = event;
    const node = this.trace.current[event];
    const line = node >= 0 ? this.trace.lineage(node).slice(1) : [];
    const opened = line.filter((n) => this.folded.has(n));
    const same = opened.length === this.opened.size && opened.every((n) => this.opened.has(n));
    if (!same) {
      this.opened = new Set(opened);
      this.layout();
    }
    if (follow && node >= 0) this.reveal(node);
    this.draw();
  }

  reveal(node) {
    const n = this.visible(node);
    if (n < 0) return;
    const { top, bottom, left, right } = this.sight();
    const y = MARGIN + this.middle[n] * ROW;
    const margin = Math.min(3 * ROW, (bottom - top) / 4);
    const x = this.columns[this.trace.depth[n]];
    const end = this.right(n) + MARGIN;
    const beyond = (low, high, from, to) => (low < from ? low - from : high > to ? high - to : 0) * this.scale;
    this.root.scrollTop += beyond(y - margin, y + ROW + margin, top, bottom);
    this.root.scrollLeft += beyond(x - MARGIN, end, left, right);
  }

  /** How far the bottom of the pane is below a node's row, in pixels; Infinity where the node is not shown. */
  below(node) {
    const n = this.visible(node);
    return n < 0 ? Infinity : (this.sight().bottom - MARGIN - (this.middle[n] + 1) * ROW) * this.scale;
  }

  light(node, twins) {
    this.lit = node;
    this.twins = twins || new Set();
    this.draw();
  }

  focus(node) {
    if (node < 0) return;
    this.focused = this.visible(node);
    this.reveal(this.focused);
    this.on.light(this.focused);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { trace } = this;
    const at = this.focused >= 0 ? this.visible(this.focused) : this.visible(trace.current[this.event]);
    if (at < 0) return;
    const index = this.order.indexOf(at);
    const moves = {
      ArrowDown: () => this.focus(this.order[Math.min(index + 1, this.order.length - 1)]),
      ArrowUp: () => this.focus(this.order[Math.max(index - 1, 0)]),
      ArrowRight: () => {
        if (!trace.children[at].length) return;
        if (this.isOpen(at)) this.focus(trace.children[at][0]);
        else this.toggle(at);
      },
      ArrowLeft: () => {
        if (trace.children[at].length && this.isOpen(at)) this.toggle(at);
        else this.focus(trace.tree.parents[at]);
      },
      Home: () => this.focus(this.order[0]),
      End: () => this.focus(this.order[this.order.length - 1]),
      Enter: () => this.on.go(at),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  }
}
