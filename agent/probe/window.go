package probe

// windowSize is how many numbers back a window remembers, a power of two. The numbers of one
// asker go round all its peers.
const windowSize = 1024

// window remembers which numbers were there, of the newest windowSize ones, as RFC 6479
// does. The zero value has seen none.
type window struct {
	newest uint64
	bits   [windowSize / 64]uint64
}

// take reports whether a number is new, and remembers it. What is too old to be remembered
// is not new.
func (w *window) take(n uint64) bool {
	switch {
	case n > w.newest:
		if n-w.newest >= windowSize {
			w.bits = [windowSize / 64]uint64{}
		} else {
			for gone := w.newest + 1; gone < n; gone++ {
				w.clear(gone)
			}
		}
		w.newest = n
	case w.newest-n >= windowSize || w.has(n):
		return false
	}
	w.bits[n/64%uint64(len(w.bits))] |= 1 << (n % 64)
	return true
}

func (w *window) has(n uint64) bool { return w.bits[n/64%uint64(len(w.bits))]&(1<<(n%64)) != 0 }

func (w *window) clear(n uint64) { w.bits[n/64%uint64(len(w.bits))] &^= 1 << (n % 64) }

// bucket lets through a rate and a burst above it.
type bucket struct {
	// gap is how many nanoseconds one costs, burst how many there may be saved.
	gap, burst int64
	// empty is when the bucket is empty of what was let through.
	empty int64
}

// newBucket lets through twice the rate a second, which nobody exceeds whose clock is
// no worse than any, and so many at once.
func newBucket(rate, burst int) bucket {
	gap := int64(1e9) / int64(2*rate)
	return bucket{gap: gap, burst: gap * int64(burst)}
}

// take reports whether one may pass now, in nanoseconds of a clock that does not go back.
func (b *bucket) take(now int64) bool {
	empty := max(b.empty, now)
	if empty+b.gap-now > b.burst {
		return false
	}
	b.empty = empty + b.gap
	return true
}
