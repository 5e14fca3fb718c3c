package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"syncline/controller/timeline"
)

// ppm is a rate in parts per billion as people say it, to the last of them: "+2.1 ppm".
func ppm(ppb int64) string { return rateDigits(ppb, -1) + " ppm" }

// rateDigits is a rate in parts per million with so many decimals; with -1, with as many
// as it has.
func rateDigits(ppb int64, decimals int) string {
	text := strconv.FormatFloat(math.Abs(float64(ppb))/1000, 'f', decimals, 64)
	switch {
	case strings.Trim(text, "0.") == "":
		return text
	case ppb < 0:
		return "−" + text
	}
	return "+" + text
}

// rateText is a rate that surely lies between two, in parts per billion. What is shown
// holds what is known.
func rateText(low, high int64) string {
	const most = math.MaxInt64 / 4
	if low < -most || high > most || low > high {
		return "between " + ppm(low) + " and " + ppm(high)
	}
	mid := (low + high) / 2
	half := max(high-mid, mid-low)
	decimals, step := 3, int64(1)
	for step*100 <= half && decimals > 0 {
		decimals, step = decimals-1, step*10
	}
	mid, off := round(mid, step)
	half = up(half+off, step)
	return rateDigits(mid, decimals) + " ppm ±" + strings.TrimPrefix(rateDigits(half, decimals), "+")
}

// round is v to the next multiple of step, and how far that is.
func round(v, step int64) (to, off int64) {
	rest := v % step
	to = v - rest
	switch {
	case rest > 0 && rest >= step-rest && v <= math.MaxInt64-step:
		to += step
	case rest < 0 && -rest >= step+rest && v >= math.MinInt64+step:
		to -= step
	}
	return to, max(to-v, v-to)
}

// up is v, which is not negative, to the next multiple of step that is not below it.
func up(v, step int64) int64 {
	if rest := v % step; rest > 0 && v <= math.MaxInt64-step {
		return v - rest + step
	}
	return v
}

// spanUp is timeline.Span of an error: rounded, but never down.
func spanUp(ns int64) string {
	switch {
	case ns < 1_000:
	case ns < 9_900:
		ns = up(ns, 100)
	case ns < 999_000:
		ns = up(ns, 1_000)
	case ns < 999_980_000:
		ns = up(ns, 10_000)
	default:
		ns = up(ns, 1_000_000)
	}
	return timeline.Span(ns)
}

// offsetWithin is an offset and its ±. What is shown holds what is known.
func offsetWithin(ns, err int64) (offset, within string) {
	offset, off := offsetRounded(ns, err)
	return offset, spanUp(err + min(off, math.MaxInt64-err))
}

// offsetDigits is an offset to the second digit of its error: "−3.21450 ms".
func offsetDigits(ns, err int64) string {
	text, _ := offsetRounded(ns, err)
	return text
}

// offsetRounded is offsetDigits, and how far that is from the offset.
func offsetRounded(ns, err int64) (text string, off int64) {
	step := int64(1)
	for err/step >= 100 && step < 1e9 {
		step *= 10
	}
	size := ns
	if ns < 0 {
		size = -max(ns, -math.MaxInt64)
	}
	unit, decimals, name := int64(1), 0, "ns"
	switch {
	case size >= 1e9:
		unit, decimals, name = 1e9, 9, "s"
	case size >= 1e6:
		unit, decimals, name = 1e6, 6, "ms"
	case size >= 1e3:
		unit, decimals, name = 1e3, 3, "µs"
	}
	for s := step; s > 1 && decimals > 0; s /= 10 {
		decimals--
	}
	size, off = round(size, min(step, unit))
	digits := strconv.FormatInt(size/unit, 10)
	if decimals > 0 {
		rest := fmt.Sprintf("%0*d", len(strconv.FormatInt(unit, 10))-1, size%unit)
		digits += "." + rest[:decimals]
	}
	sign := ""
	switch {
	case strings.Trim(digits, "0.") == "":
	case ns < 0:
		sign = "−"
	default:
		sign = "+"
	}
	return sign + digits + " " + name, off
}
