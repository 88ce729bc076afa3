/** A set of texts, each with a number, that finds those which a longer text has at some place. */
interface Node {
  value?: number;
  children?: Map<number, Node>;
}

export class Trie {
  private readonly root: Node = {};

  add(text: string, value: number): void {
    let node = this.root;
    for (let i = 0; i < text.length; i++) {
      node.children ??= new Map();
      const unit = text.charCodeAt(i);
      let next = node.children.get(unit);
      if (!next) {
        next = {};
        node.children.set(unit, next);
      }
      node = next;
    }
    node.value = value;
  }

  /** Calls `found` for each text that stands at `start`, the shortest first, with where it ends. */
  each(text: string, start: number, found: (end: number, value: number) => void): void {
    let node: Node | undefined = this.root;
    for (let i = start; i < text.length; i++) {
      node = node.children?.get(text.charCodeAt(i));
      if (!node) return;
      if (node.value !== undefined) found(i + 1, node.value);
    }
  }
}
