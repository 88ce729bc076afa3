// xIELU, an activation with weights of its own (arXiv 2411.13010). With p = softplus(alphas[0]), n = beta + softplus(alphas[1]):
//   x > 0: p x^2 + beta x;   else: (exp(min(x, eps)) - 1 - x) n + beta x
// alphas: [2]; constants: beta, eps. Joined to the kernels that apply it, after their own bindings 0 and 1.

@group(1) @binding(0) var<storage, read> alphas: array<f32>;
@group(1) @binding(1) var<storage, read> constants: array<f32>;

// log(1 + e) for e in [0, 1], as 2 atanh(e / (2 + e)): its relative error stays small where e is.
fn logOnePlus(e: f32) -> f32 {
  let z = e / (2.0 + e);
  let s = z * z;
  var sum = 1.0 / 15.0;
  sum = fma(sum, s, 1.0 / 13.0);
  sum = fma(sum, s, 1.0 / 11.0);
  sum = fma(sum, s, 1.0 / 9.0);
  sum = fma(sum, s, 1.0 / 7.0);
  sum = fma(sum, s, 1.0 / 5.0);
  sum = fma(sum, s, 1.0 / 3.0);
  sum = fma(sum, s, 1.0);
  return 2.0 * z * sum;
}

fn softplus(x: f32) -> f32 {
  return max(x, 0.0) + logOnePlus(exp(-abs(x)));
}

// exp(x) - 1 - x for x <= 0; by its series where the difference would lose digits.
fn expRest(x: f32) -> f32 {
  if (x < -0.5) {
    return exp(x) - 1.0 - x;
  }
  var sum = 1.0 / 362880.0;
  sum = fma(sum, x, 1.0 / 40320.0);
  sum = fma(sum, x, 1.0 / 5040.0);
  sum = fma(sum, x, 1.0 / 720.0);
  sum = fma(sum, x, 1.0 / 120.0);
  sum = fma(sum, x, 1.0 / 24.0);
  sum = fma(sum, x, 1.0 / 6.0);
  sum = fma(sum, x, 0.5);
  return x * x * sum;
}

// exp(min(x, eps)) - 1 - x, what the weight of the left side multiplies.
fn leftPart(x: f32) -> f32 {
  let bounded = min(x, constants[1]);
  return expRest(bounded) + (bounded - x);
}

fn xielu(x: f32) -> f32 {
  let beta = constants[0];
  if (x > 0.0) {
    return fma(softplus(alphas[0]) * x, x, beta * x);
  }
  return fma(leftPart(x), beta + softplus(alphas[1]), beta * x);
}

// The derivative of xielu.
fn xieluSlope(x: f32) -> f32 {
  let beta = constants[0];
  if (x > 0.0) {
    return fma(2.0 * softplus(alphas[0]), x, beta);
  }
  let inside = select(-1.0, expRest(x) + x, x <= constants[1]);
  return fma(inside, beta + softplus(alphas[1]), beta);
}
