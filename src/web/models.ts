/** Models that lie beside the page, each with a prompt to begin with. `npm run build` copies them from `weights/`. */
export const EMBEDDED: readonly {
  readonly address: string;
  readonly name: string;
  readonly text: string;
  readonly corrupted: string;
}[] = [
  {
    address: "models/lc-mix10",
    name: "Sums in four languages and countries, trained on mixed prompts (64 wide, 108k parameters)",
    text: "\n2+3->five\n1+6->sept\n4+4->eight\n7+2->nueve\n3+3->",
    corrupted: "\n2+3->five\n1+6->sept\n4+4->eight\n7+2->nueve\n4+5->",
  },
  {
    address: "models/lc",
    name: "The same, trained on prompts of one task each",
    text: "\n2+3->five\n1+6->seven\n4+4->eight\n3+3->",
    corrupted: "\n2+3->five\n1+6->seven\n4+4->eight\n4+5->",
  },
  {
    address: "models/superposition",
    name: "The constructive transformer: four tasks at once, every weight by hand",
    text: "",
    corrupted: "",
  },
];
