package spool

import (
	"errors"
	"fmt"
	"strings"
)

// The head of a stream is one file that is written in full when the stream begins. What
// changes later overwrites its own place, so that it needs no space that may not be there:
// a disk that is full takes a watermark, a drop and an end all the same.
//
//	    0  preamble, identity
//	 4096  watermark, if its counter is even
//	 8192  watermark, if it is odd
//	12288  end
//
// A watermark is written over the older of the two, so that one of them is whole whenever the
// power goes; the one with the higher counter holds. The end is written once.
const (
	markAt   = 4096
	endAtOff = 3 * 4096
	headSize = 4 * 4096
)

// head is what the file says.
type head struct {
	identity Identity
	counter  uint64
	mark     mark
	dropped  bool
	end      *End
}

// newHead is the file of a stream that begins.
func newHead(of Identity, serial uint64) []byte {
	b := appendPreamble(make([]byte, 0, headSize), headFile)
	b = appendFrame(b, of.body(), serial, preambleSize)
	b = append(b, make([]byte, markAt-len(b))...)
	b = appendFrame(b, markBody(0, mark{}, false), serial, markAt)
	return append(b, make([]byte, headSize-len(b))...)
}

// markPlace is where the watermark with a counter stands.
func markPlace(counter uint64) int64 { return markAt * (1 + int64(counter%2)) }

// parseHead reads a head. A part that is damaged is in the errors, and does not keep the
// others from being read; without an identity there is none. A place for an end that
// is zero has none.
func parseHead(b []byte, serial uint64) (h *head, damaged []error) {
	if err := checkPreamble(b, headFile); err != nil {
		damaged = append(damaged, err)
		if errors.Is(err, ErrNewer) {
			return nil, damaged
		}
	}
	h = &head{}
	body, err := frameAt(b, serial, preambleSize)
	if err == nil {
		h.identity, err = parseIdentity(body)
	}
	if err != nil {
		return nil, append(damaged, fmt.Errorf("identity: %w", err))
	}
	found := false
	for _, at := range []int64{markAt, 2 * markAt} {
		body, err := frameAt(b, serial, at)
		if err != nil {
			if !blank(b, at) {
				damaged = append(damaged, fmt.Errorf("watermark at %d: %w", at, err))
			}
			continue
		}
		counter, m, dropped, err := parseMark(body)
		if err == nil && markPlace(counter) != at {
			err = fmt.Errorf("%w: watermark %d", ErrDamaged, counter)
		}
		if err != nil {
			damaged = append(damaged, fmt.Errorf("watermark at %d: %w", at, err))
			continue
		}
		if !found || counter > h.counter {
			h.counter, h.mark, h.dropped, found = counter, m, dropped, true
		}
	}
	if blank(b, endAtOff) {
		return h, damaged
	}
	body, err = frameAt(b, serial, endAtOff)
	var end End
	if err == nil {
		end, err = parseEnd(body)
	}
	if err != nil {
		return h, append(damaged, fmt.Errorf("end: %w", err))
	}
	h.end = &end
	return h, damaged
}

func frameAt(b []byte, serial uint64, at int64) ([]byte, error) {
	if int64(len(b)) <= at {
		return nil, fmt.Errorf("%w: the file ends at %d", ErrDamaged, len(b))
	}
	body, _, err := parseFrame(b[at:], serial, at)
	return body, err
}

// blank reports whether a place was never written to.
func blank(b []byte, at int64) bool {
	if int64(len(b)) <= at {
		return false
	}
	for _, c := range b[at:min(at+markAt, int64(len(b)))] {
		if c != 0 {
			return false
		}
	}
	return true
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
