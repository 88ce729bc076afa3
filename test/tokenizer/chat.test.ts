/**
 * Chat templates against transformers: ten templates, each with features that templates of published models use, and five
 * conversations. `test/fixtures/chat/expected.py` wrote the texts and the ids.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { chatIds } from "../../src/model/chat.ts";
import {
  type ChatMessage,
  type ChatTemplateOptions,
  loadTokenizer,
  type Tokenizer,
} from "../../src/tokenizer/index.ts";

const FOLDER = new URL("../fixtures/chat/", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, FOLDER), "utf8");

interface Conversation {
  messages: ChatMessage[];
  add_generation_prompt?: boolean;
  variables?: Record<string, unknown>;
}
type Expected = { template: string; conversation: string } & (
  | { text: string; ids: number[] }
  | { error: string; message: string }
);

const conversations: Record<string, Conversation> = JSON.parse(read("conversations.json"));
const expected: Expected[] = JSON.parse(read("expected.json"));

/** The fixture's tokenizer with a `chat_template` in its config, or with the file `chat_template.jinja`. */
async function tokenizerWith(chat_template: unknown, file?: string): Promise<Tokenizer> {
  const config = { ...JSON.parse(read("tokenizer/tokenizer_config.json")), chat_template };
  const files: Record<string, unknown> = { "tokenizer.json": JSON.parse(read("tokenizer/tokenizer.json")) };
  const tokenizer = await loadTokenizer(
    {
      json: async (name) => (name === "tokenizer_config.json" ? config : files[name]),
      text: async (name) => (name === "chat_template.jinja" ? file : undefined),
    },
    { modelType: "llama", vocabSize: 300 },
  );
  return tokenizer as Tokenizer;
}

const USER: ChatMessage[] = [{ role: "user", content: "Hello" }];

describe("what transformers makes of it", () => {
  it("is known for ten templates, some of which refuse some conversations", () => {
    expect(new Set(expected.map(({ template }) => template)).size).toBe(10);
    expect(expected.filter((each) => "error" in each).length).toBeGreaterThan(2);
    expect(expected.filter((each) => "text" in each).length).toBeGreaterThan(40);
  });

  it.each(expected)("$template, $conversation", async ({ template, conversation, ...outcome }) => {
    const { messages, add_generation_prompt, variables } = conversations[conversation] as Conversation;
    const tokenizer = await tokenizerWith(read(`templates/${template}.jinja`));
    const options: ChatTemplateOptions = {
      ...(add_generation_prompt && { addGenerationPrompt: true }),
      ...(variables && { variables }),
    };
    const rendered = tokenizer.applyChatTemplate(messages, options);
    if ("error" in outcome) {
      await expect(rendered).rejects.toMatchObject({ code: "tokenizer/chat-template" });
      await expect(rendered).rejects.toThrow(outcome.message);
      return;
    }
    expect(await rendered).toBe(outcome.text);
    expect(await chatIds({ tokenizer }, messages, { addGenerationPrompt: false, ...options })).toEqual(outcome.ids);
  });
});

describe("what @huggingface/jinja does otherwise than Jinja (docs/chat.md)", () => {
  it.each([
    ["a truth value is printed as in JSON", "{{ true }}", "true"],
    ["a key of what is not there is empty, not an error", "[{{ nowhere.key.deeper }}]", "[]"],
    ["title() knows the letters a to z", "{{ 'größe'.title() }}", "GrößE"],
    ["text before continue is lost", "{% for m in [1, 2] %}a{% continue %}{% endfor %}", ""],
  ])("%s", async (_, template, text) => {
    expect(await (await tokenizerWith(template)).applyChatTemplate(USER)).toBe(text);
  });
});

describe("which template", () => {
  const named = [
    { name: "default", template: "D{{ messages[0].content }}" },
    { name: "tool_use", template: "T{{ tools | length }}" },
    { name: "rag", template: "R" },
  ];

  it("the file chat_template.jinja, before the config's", async () => {
    const tokenizer = await tokenizerWith("config", "file {{ messages[0].content }}");
    expect(await tokenizer.applyChatTemplate(USER)).toBe("file Hello");
  });

  it("of a list: the default, tool_use where there are tools, or the one that is named", async () => {
    const tokenizer = await tokenizerWith(named);
    expect(await tokenizer.applyChatTemplate(USER)).toBe("DHello");
    expect(await tokenizer.applyChatTemplate(USER, { variables: { tools: [{}, {}] } })).toBe("T2");
    expect(await tokenizer.applyChatTemplate(USER, { chatTemplate: "rag" })).toBe("R");
    expect(await tokenizer.applyChatTemplate(USER, { chatTemplate: "own {{ messages[0].role }}" })).toBe("own user");
  });

  it("none: a refusal with the way out", async () => {
    const none = (await tokenizerWith(undefined)).applyChatTemplate(USER);
    await expect(none).rejects.toMatchObject({ code: "tokenizer/no-chat-template" });
    const several = (await tokenizerWith(named.slice(1))).applyChatTemplate(USER);
    await expect(several).rejects.toThrow(/no default.*tool_use, rag/);
    const other = (await tokenizerWith({ a: 1 })).applyChatTemplate(USER);
    await expect(other).rejects.toMatchObject({ code: "tokenizer/broken" });
  });

  it("today's date is the one of this machine", async () => {
    const tokenizer = await tokenizerWith("{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%d %b %Y') }}");
    const now = new Date();
    const two = (value: number) => String(value).padStart(2, "0");
    const month = now.toLocaleString("en-US", { month: "short" });
    const iso = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
    const long = `${two(now.getDate())} ${month} ${now.getFullYear()}`;
    expect(await tokenizer.applyChatTemplate(USER)).toBe(`${iso}|${long}`);
  });
});

describe("refused", () => {
  it.each<[string, unknown, string]>([
    ["no list", "Hello", "input/argument"],
    ["no role", [{ content: "Hello" }], "input/argument"],
    ["a role that is misspelt", [{ role: "asistant", content: "Hello" }], "tokenizer/chat-role"],
  ])("%s", async (_, messages, code) => {
    const tokenizer = await tokenizerWith("{{ messages[0].content }}");
    await expect(tokenizer.applyChatTemplate(messages as ChatMessage[])).rejects.toMatchObject({ code });
  });

  it("not a role that the template names", async () => {
    const tokenizer = await tokenizerWith("{% if messages[0].role == 'critic' %}yes{% endif %}");
    expect(await tokenizer.applyChatTemplate([{ role: "critic", content: "Hm." }])).toBe("yes");
  });

  it.each(["{% if %}", "{{ messages[0].content | nosuchfilter }}", "{% for message in messages %}"])(
    "a template that is broken: %s",
    async (template) => {
      const rendered = (await tokenizerWith(template)).applyChatTemplate(USER);
      await expect(rendered).rejects.toMatchObject({ code: "tokenizer/chat-template" });
    },
  );
});

describe("a hostile template", () => {
  it.each([
    "{{ ''.constructor.constructor('globalThis.pwned = 1')() }}",
    "{{ messages.constructor.constructor('globalThis.pwned = 1')() }}",
    "{{ raise_exception.constructor('globalThis.pwned = 1')() }}",
    "{{ strftime_now.__proto__.constructor('globalThis.pwned = 1')() }}",
    "{{ messages[0]['__proto__']['constructor']('globalThis.pwned = 1')() }}",
    "{% set messages = 1 %}{{ globalThis.process.exit() }}",
    "{{ ().__class__.__base__.__subclasses__() }}",
  ])("reaches no JavaScript: %s", async (template) => {
    const rendered = await (await tokenizerWith(template)).applyChatTemplate(USER).catch((error: Error) => error);
    if (typeof rendered === "string") expect(rendered).toBe("");
    else expect(rendered).toMatchObject({ code: "tokenizer/chat-template" });
    expect("pwned" in globalThis).toBe(false);
  });

  it("does not change the messages that it is given", async () => {
    const messages = [{ role: "user", content: "Hello" }];
    const template = "{% set messages = [] %}{% set ns = namespace(m=messages) %}{% set ns.m = 1 %}{{ ns.m }}";
    expect(await (await tokenizerWith(template)).applyChatTemplate(messages)).toBe("1");
    expect(messages).toEqual([{ role: "user", content: "Hello" }]);
  });
});
