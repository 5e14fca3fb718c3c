/** Times and lengths as people read them. They are written as `syncline ladder` writes them. */

/** A length of time, as the terminal has it: "380 ns", "3.1 µs", "40.14 ms". */
export function span(ns: number): string {
  if (ns < 0) {
    return '−' + span(-ns);
  }
  if (ns < 1_000) {
    return `${trim(ns, 0)} ns`;
  }
  if (ns < 9_950) {
    return `${trim(ns / 1e3, 1)} µs`;
  }
  if (ns < 999_500) {
    return `${trim(ns / 1e3, 0)} µs`;
  }
  if (ns < 999_995_000) {
    return `${trim(ns / 1e6, 2)} ms`;
  }
  return `${trim(ns / 1e9, 3)} s`;
}

/** A number with at most so many decimals, and none at its end that is zero. */
function trim(n: number, decimals: number): string {
  const digits = n.toFixed(decimals);
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
}

/** A ± as people read it, rounded up: what is shown holds the truth as well. */
export function plusMinus(err: number | null): string {
  if (err === null) {
    return '±?';
  }
  if (err === 0) {
    return '±0';
  }
  const unit = err < 1e3 ? 1 : err < 1e6 ? 1e2 : err < 1e9 ? 1e4 : 1e7;
  return '±' + span(Math.ceil(err / unit) * unit);
}

/** A time with the decimals of its column, in units of so many nanoseconds: "40.141". */
export function fixed(ns: number, unit: number, decimals: number): string {
  return (ns / unit).toFixed(decimals).replace(/^-/, '−');
}

/** A ± in the column's unit, rounded up: "±.038". */
export function fixedError(err: number | null, unit: number, decimals: number): string {
  if (err === null) {
    return '±?';
  }
  const step = unit / 10 ** decimals;
  return '±' + fixed(Math.ceil(err / step) * step, unit, decimals).replace(/^0\./, '.');
}

/** The symbol of a unit of so many nanoseconds. */
export function unitName(unit: number): string {
  switch (unit) {
    case 1:
      return 'ns';
    case 1e3:
      return 'µs';
    case 1e6:
      return 'ms';
    case 1e9:
      return 's';
  }
  return `${unit} ns`;
}

/** A host's own time in decimal nanoseconds, grouped so that digits can be compared. */
export function groupedNanoseconds(decimal: string): string {
  const negative = decimal.startsWith('-');
  const digits = (negative ? decimal.slice(1) : decimal).padStart(10, '0');
  const seconds = digits.slice(0, -9).replace(/^0+(?=\d)/, '');
  const rest = digits.slice(-9);
  return `${negative ? '−' : ''}${seconds}.${rest.slice(0, 3)} ${rest.slice(3, 6)} ${rest.slice(6)} s`;
}
