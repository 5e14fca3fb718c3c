package store

import "math/bits"

// marks is a set of places in a list, a bit each. The zero marks is the empty set.
type marks []uint64

func (m marks) has(i int) bool { return i/64 < len(m) && m[i/64]&(1<<(i%64)) != 0 }

// set adds a place, and reports whether it is new.
func (m *marks) set(i int) bool {
	if m.has(i) {
		return false
	}
	for len(*m) <= i/64 {
		*m = append(*m, 0)
	}
	(*m)[i/64] |= 1 << (i % 64)
	return true
}

// clear removes a place, and reports whether it was in the set.
func (m marks) clear(i int) bool {
	if !m.has(i) {
		return false
	}
	m[i/64] &^= 1 << (i % 64)
	return true
}

// next is the first place from i on, or -1.
func (m marks) next(i int) int {
	for w := i / 64; w < len(m); w++ {
		word := m[w]
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// count is how many places are in the set.
func (m marks) count() int {
	n := 0
	for _, w := range m {
		n += bits.OnesCount64(w)
	}
	return n
}
