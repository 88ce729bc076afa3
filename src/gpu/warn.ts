/** Tells a person something on the console, in the name of superlens. */
export function warn(message: string): void {
  console.warn(`superlens: ${message}`);
}
