// A trace with its indexes. Nodes, events and tokens are numbers: node n was the n-th to be generated.
const [EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END, PLAN, REST] = [0, 1, 2, 3, 4, 5, 6, 7];

class Trace {
  constructor(data) {
    Object.assign(this, data);
    const { parents } = data.tree;
    this.numNodes = parents.length;
    this.numEvents = data.kinds.length;
    this.children = parents.map(() => []);
    this.roots = [];
    this.depth = new Int32Array(this.numNodes);
    parents.forEach((parent, n) => {
      if (parent < 0) this.roots.push(n);
      else {
        this.children[parent].push(n);
        this.depth[n] = this.depth[parent] + 1; // a parent comes before its children
      }
    });
    this.deepest = this.depth.reduce((deepest, depth) => Math.max(deepest, depth), 0);
    this.numBelow = new Int32Array(this.numNodes);
    for (let n = this.numNodes - 1; n > 0; n--) {
      if (parents[n] >= 0) this.numBelow[parents[n]] += this.numBelow[n] + 1;
    }

    this.eventsOf = parents.map(() => []);
    this.dead = new Uint8Array(this.numNodes);
    this.wrong = new Uint8Array(this.numNodes);
    this.current = new Int32Array(this.numEvents); // the node where the search is after each event
    let current = -1;
    for (let e = 0; e < this.numEvents; e++) {
      const n = data.nodes[e];
      if (n >= 0) {
        this.eventsOf[n].push(e);
        if (data.kinds[e] === DEAD_END) this.dead[n] = 1;
        if (data.mistakes[e]) this.wrong[n] = 1;
        current = n;
      }
      this.current[e] = current;
    }
    this.wrongBelow = new Int32Array(this.numNodes);
    for (let n = this.numNodes - 1; n > 0; n--) {
      if (parents[n] >= 0) this.wrongBelow[parents[n]] += this.wrongBelow[n] + this.wrong[n];
    }
    this.mistakeEvents = Object.keys(data.mistakes).map(Number).sort((a, b) => a - b);
    this.onPath = new Uint8Array(this.numNodes);
    const answer = data.solved ? data.goalEvent : data.planEvent; // what the search found, or else the plan
    this.goalNode = answer >= 0 ? data.nodes[answer] : -1;
    for (const n of this.lineage(this.goalNode)) this.onPath[n] = 1;
  }

  /** The node and its ancestors, the root last. */
  lineage(node) {
    const line = [];
    for (let n = node; n >= 0; n = this.tree.parents[n]) line.push(n);
    return line;
  }

  /** What was said up to an event, as drawings: each node's last mark is open, closed, or that it is of a plan. */
  toldUpTo(event) {
    const marks = { [GENERATE]: "open", [EXPAND]: "closed", [BACKTRACK]: "closed", [PLAN]: "plan" };
    const told = [];
    for (let e = 0; e <= event; e++) {
      const drawing = this.kinds[e] in marks ? this.drawing(this.nodes[e]) : null;
      if (drawing) told.push({ ...drawing, mark: marks[this.kinds[e]] });
    }
    return told;
  }

  /** The drawing of a node's state, or null. */
  drawing(node) {
    const own = node >= 0 && this.drawings ? this.drawings.of[node] : null;
    return own ? { ...this.drawings.shared, ...own } : null;
  }

  mistakesOf(node) {
    return this.eventsOf[node].filter((e) => this.mistakes[e]).map((e) => this.mistakes[e]);
  }

  /** What is written beside a node with mistakes. */
  markWords(node) {
    if (!this.wrong[node]) return "";
    const mistakes = this.mistakesOf(node);
    return mistakes.length > 1 ? `${mistakes.length} mistakes` : mistakes[0].name;
  }

  born(node) {
    return this.eventsOf[node].length ? this.eventsOf[node][0] : 0;
  }

  firstToken(event) {
    return this.starts[event];
  }

  /** The token behind the event's last one. */
  lastToken(event) {
    return event + 1 < this.numEvents ? this.starts[event + 1] : this.tokens.length;
  }

  eventOfToken(token) {
    let low = 0;
    let high = this.numEvents - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** What an event says, in words. */
  sentence(event) {
    const n = this.nodes[event];
    const state = n >= 0 ? this.tree.states[n].join(", ") : "";
    switch (this.kinds[event]) {
      case EXPAND:
        if (event === 0) return this.says.first;
        return n < 0 ? "Visit a node that does not exist." : `Visit node ${n}: ${state}.`;
      case GENERATE:
        return `Try ${this.tree.actions[n]}: node ${n} ${this.says.holds} ${state}.`;
      case DEAD_END:
        return this.says.deadEnd.replaceAll("{value}", this.values[event]);
      case GOAL:
        return this.says.goal.replaceAll("{value}", this.values[event]);
      case BACKTRACK:
        return n < 0 ? "Return to a node that does not exist." : `Return to node ${n}: ${state}.`;
      case PLAN:
        return `The plan: ${this.tree.actions[n]}, which gives ${state}.`;
      case END:
        return `The search ${this.ending}.`;
      default:
        return this.rest.text;
    }
  }

  /** The next event after `event` (or before it, for -1) that is a mistake, or -1. */
  mistakeFrom(event, direction) {
    const later = this.mistakeEvents.filter((e) => (e - event) * direction > 0);
    return later.length ? later[direction > 0 ? 0 : later.length - 1] : -1;
  }
}
