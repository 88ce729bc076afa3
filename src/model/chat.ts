/** Conversations as token ids. */
import type { ChatMessage, ChatTemplateOptions } from "../tokenizer/chat.ts";
import { requireTokenizer, type TextModel } from "./input.ts";

/** The ids of a conversation by the model's chat template, with what begins the answer unless told otherwise. */
export async function chatIds(
  model: TextModel,
  messages: readonly ChatMessage[],
  { addGenerationPrompt = true, ...others }: ChatTemplateOptions = {},
): Promise<number[]> {
  const tokenizer = requireTokenizer(model, "Give the conversation's token ids.");
  const text = await tokenizer.applyChatTemplate(messages, { addGenerationPrompt, ...others });
  // The template spells its special tokens, BOS included.
  return tokenizer.encode(text, { addSpecialTokens: false });
}
