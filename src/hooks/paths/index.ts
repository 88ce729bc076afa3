export { type Jacobian, type JacobianOptions, jacobian } from "./jacobian.ts";
