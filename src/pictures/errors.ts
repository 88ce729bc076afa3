/** Errors of pictures: numbers that cannot be drawn as they were asked to be. */
import { SuperlensError } from "../errors.ts";

/**
 * `code` is one of
 *
 * | code | meaning |
 * |---|---|
 * | `picture/form` | what was given is no result that this picture is made of |
 * | `picture/shape` | numbers that are no grid: lines of unequal length, or other than two axes longer than 1 |
 * | `picture/labels` | labels that are not as many as what they name |
 * | `picture/show` | the result has no such numbers |
 * | `picture/range` | a layer, head, batch entry or rank that the result does not have |
 * | `picture/size` | more cells than a picture can have |
 */
export class PictureError extends SuperlensError {}
