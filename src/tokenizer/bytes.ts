/**
 * Byte-level vocabularies spell arbitrary bytes with printable characters: 33..126, 161..172 and 174..255 stand for
 * themselves, the other 68 bytes in order for U+0100, U+0101 ... (so a space is "Ġ", U+0120).
 * Source: `bytes_to_unicode` in https://github.com/openai/gpt-2/blob/master/src/encoder.py
 */
const standsForItself = (byte: number) =>
  (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);

const characterOfByte: string[] = [];
for (let byte = 0, extra = 256; byte < 256; byte++) {
  characterOfByte.push(String.fromCharCode(standsForItself(byte) ? byte : extra++));
}
const byteOfCharacter = new Map(characterOfByte.map((character, byte) => [character, byte]));

const utf8 = new TextEncoder();

/** Bytes, or a text's UTF-8 bytes, spelled with one character each. */
export function spellBytes(source: string | Uint8Array): string {
  let spelled = "";
  for (const byte of typeof source === "string" ? utf8.encode(source) : source) spelled += characterOfByte[byte];
  return spelled;
}

/** The bytes a byte-level vocabulary entry stands for, or undefined when it holds a character outside the alphabet. */
export function bytesOfPiece(piece: string): Uint8Array | undefined {
  const bytes = Array.from(piece, (character) => byteOfCharacter.get(character));
  return bytes.every((byte) => byte !== undefined) ? Uint8Array.from(bytes) : undefined;
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes as text when they are whole UTF-8 characters; otherwise ASCII stays and each other byte reads `<0xE2>`. */
export function showBytes(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return Array.from(bytes, (byte) => (byte < 128 ? String.fromCharCode(byte) : byteName(byte))).join("");
  }
}

function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}
