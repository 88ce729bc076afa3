/**
 * Chat templates: a conversation becomes the text that a chat model was trained on. A template is a small Jinja program beside
 * the weights, and gives the string that transformers' `apply_chat_template` gives.
 *
 * Templates come with the checkpoint, so they are not trusted: they run in the interpreter of `@huggingface/jinja`, which reads
 * their syntax tree and evaluates no JavaScript. It is loaded when the first template is rendered.
 */
import { ConfigError, InputError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { isObject } from "./parts.ts";
import { type NamingFiles, namedToken, SINGLE_NAMES } from "./special-names.ts";

/** A message of a conversation. Templates may read other keys, too, such as `tool_calls`. */
export interface ChatMessage {
  /** Who speaks: `system`, `user`, `assistant`, or what else the template knows. */
  role: string;
  /** What is said; some templates take a list of parts, `{ type: "text", text }`. */
  content?: unknown;
  readonly [key: string]: unknown;
}

/** Options of `applyChatTemplate`. */
export interface ChatTemplateOptions {
  /** End with what begins an answer. Default false. */
  addGenerationPrompt?: boolean;
  /** One of several templates by its name, or a template of your own. Default: the checkpoint's, or the one named `default`. */
  chatTemplate?: string;
  /** What else the template may read, such as `{ enable_thinking: false }`. */
  variables?: Record<string, unknown>;
}

export const CHAT_TEMPLATE_OPTIONS = s.object<ChatTemplateOptions>("the options of a chat template", {
  addGenerationPrompt: s.flag,
  chatTemplate: s.text,
  variables: s.record("variables", { takes: "anything", read: (value) => value }),
});

const MESSAGE: s.Schema<ChatMessage> = {
  takes: "a message { role, content }",
  read(value, at) {
    if (!s.isRecord(value)) return at.refuse(value, MESSAGE.takes);
    s.required(s.text).read(value.role, at.field("role"));
    return value as ChatMessage;
  },
};

export const MESSAGES = s.list<ChatMessage>("messages { role, content }", MESSAGE);

/** What a checkpoint says about conversations. */
export interface ChatFiles extends NamingFiles {
  /** `chat_template.jinja`, which counts before the config's. */
  template?: string | undefined;
}

/** Roles that templates write without naming them. */
const ROLES = ["system", "developer", "user", "assistant", "tool"];

/** The name of the only template, or of the usual one. */
const DEFAULT = "default";

/** The templates of a checkpoint, and the special tokens that they write. */
export class ChatTemplates {
  /** Special tokens by their names, `bos_token` and the like. */
  readonly #tokens: Record<string, string>;

  constructor(
    private readonly files: ChatFiles,
    tokens: Record<string, string> = {},
  ) {
    const listed = SINGLE_NAMES.flatMap((name) => {
      const token = namedToken(files, name);
      return token === undefined ? [] : [[name, token] as const];
    });
    this.#tokens = { ...tokens, ...Object.fromEntries(listed) };
  }

  /** The text of a conversation. */
  async render(messages: readonly ChatMessage[], options: ChatTemplateOptions): Promise<string> {
    const { addGenerationPrompt = false, variables } = options;
    const source = this.#choose(options);
    checkRoles(messages, source);
    const { Template } = await import("@huggingface/jinja");
    const given = { tools: null, documents: null, ...this.#tokens, ...variables };
    try {
      return new Template(source).render({ ...given, messages, add_generation_prompt: addGenerationPrompt });
    } catch (cause) {
      // What a template says by raise_exception arrives as any other error.
      throw new InputError(
        "tokenizer/chat-template",
        `The chat template refuses these messages, or cannot be rendered: ${(cause as Error).message} Change the messages, or give another template as chatTemplate.`,
        { cause },
      );
    }
  }

  /** As transformers chooses: by name, or text that is no name, or `tool_use` where there are tools, or `default`. */
  #choose({ chatTemplate, variables }: ChatTemplateOptions): string {
    const named = templatesOf(this.files);
    if (chatTemplate !== undefined) return named.get(chatTemplate) ?? chatTemplate;
    const withTools = (variables?.tools ?? null) === null ? undefined : named.get("tool_use");
    const found = withTools ?? named.get(DEFAULT);
    if (found !== undefined) return found;
    const reason =
      named.size === 0
        ? "This model's tokenizer has no chat template: it may be no chat model. Give plain text, or a template as chatTemplate."
        : `This model has several chat templates and no default. Choose one with chatTemplate: ${[...named.keys()].join(", ")}.`;
    throw new InputError("tokenizer/no-chat-template", reason);
  }
}

function templatesOf({ config, template }: ChatFiles): Map<string, string> {
  const given = template ?? config.chat_template ?? undefined;
  if (given === undefined) return new Map();
  if (typeof given === "string") return new Map([[DEFAULT, given]]);
  if (Array.isArray(given) && given.every(isNamed)) return new Map(given.map(({ name, template }) => [name, template]));
  throw new ConfigError(
    "tokenizer/broken",
    "tokenizer_config.json: chat_template is neither text nor a list of { name, template }. Download the file again, or give token ids.",
  );
}

const isNamed = (entry: unknown): entry is { name: string; template: string } =>
  isObject(entry) && typeof entry.name === "string" && typeof entry.template === "string";

/** A misspelt role would vanish: most templates pass over what they do not know. */
function checkRoles(messages: readonly ChatMessage[], source: string): void {
  for (const [index, { role }] of messages.entries()) {
    if (ROLES.includes(role) || source.includes(`'${role}'`) || source.includes(`"${role}"`)) continue;
    throw new InputError(
      "tokenizer/chat-role",
      `messages[${index}].role is ${JSON.stringify(role)}, which the chat template does not name. Usual roles are ${ROLES.join(", ")}.`,
    );
  }
}
