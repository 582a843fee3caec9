// Prices as text. Digits are moved and padded, never computed: what the server sent is what is shown.

/** The decimals of a price step: "0.01" has 2. Without a step, 0. */
export function decimalsOf(step) {
  return step ? (step.split('.')[1] ?? '').length : 0;
}

/** A price (a number of `rates:live`, or text of /v1) padded to `decimals`; more digits stay. */
export function price(value, decimals) {
  const [whole, fraction = ''] = plain(value).split('.');
  const padded = fraction.padEnd(decimals, '0');
  return padded ? `${whole}.${padded}` : whole;
}

/** A difference of prices, with its sign. */
export function signed(value, decimals) {
  const text = price(value, decimals);
  if (text.startsWith('-')) return `−${text.slice(1)}`;
  return /[1-9]/.test(text) ? `+${text}` : text;
}

// JavaScript writes 0.00000058 as 5.8e-7.
function plain(value) {
  const text = String(value);
  const small = /^(-?)(\d)(?:\.(\d+))?e-(\d+)$/.exec(text);
  if (!small) return text;
  const [, sign, whole, fraction = '', exponent] = small;
  return `${sign}0.${'0'.repeat(Number(exponent) - 1)}${whole}${fraction}`;
}
