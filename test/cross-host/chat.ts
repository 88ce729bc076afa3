/** Chat templates on every host: the interpreter is a package that is loaded when the first template is rendered. */
import { FilesSource, loadModel } from "../../src/index.ts";
import { type Check, expectEqual } from "./harness.ts";

const FILES: Readonly<Record<string, string>> = {
  "config.json": "families/llama/config.json",
  "model.safetensors": "families/llama/model.safetensors",
  "tokenizer.json": "chat/tokenizer/tokenizer.json",
  "tokenizer_config.json": "chat/tokenizer/tokenizer_config.json",
  "chat_template.jinja": "chat/templates/macro.jinja",
};

interface Row {
  template: string;
  conversation: string;
  ids: number[];
}

export const chatChecks: Check[] = [
  {
    name: "a chat template gives transformers' tokens",
    async run(context) {
      const json = async (path: string) => JSON.parse(new TextDecoder().decode(await context.loadFixture(path)));
      const files = await Promise.all(
        Object.entries(FILES).map(async ([name, path]) => ({
          name,
          blob: new Blob([(await context.loadFixture(path)) as BlobPart]),
        })),
      );
      using model = await loadModel(new FilesSource(files, "chat"), { gpu: await context.gpu() });
      const { messages } = (await json("chat/conversations.json"))["a conversation"];
      const rows: Row[] = await json("chat/expected.json");
      const row = rows.find(({ template, conversation }) => template === "macro" && conversation === "a conversation");
      expectEqual((await model.chat(messages)).join(" "), row?.ids.join(" "), "ids");
      return `${row?.ids.length} tokens`;
    },
  },
];
