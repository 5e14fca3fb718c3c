package probe

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	synclinev1 "syncline/proto/syncline/v1"
)

func secret(first byte) []byte {
	s := bytes.Repeat([]byte{0xa5}, SecretSize)
	s[0] = first
	return s
}

func drawDatagram(t *rapid.T, k *key) datagram {
	return datagram{
		kind:     rapid.SampledFrom([]byte{kindRequest, kindReply}).Draw(t, "kind"),
		path:     synclinev1.ProbePath(rapid.IntRange(0, 3).Draw(t, "path")),
		last:     rapid.Bool().Draw(t, "last"),
		sender:   k.name("host", rapid.String().Draw(t, "sender")),
		receiver: k.name("host", rapid.String().Draw(t, "receiver")),
		exchange: rapid.Uint64Min(1).Draw(t, "exchange"),
	}
}

// What one host of a session seals, another one opens.
func TestDatagramAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		here, there := newKey(secret(1), "r-1"), newKey(secret(1), "r-1")
		d := drawDatagram(t, here)
		var b [Size]byte
		here.seal(&b, &d)
		got, err := there.open(b[:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got, cmp.AllowUnexported(datagram{})); diff != "" {
			t.Fatalf("(-sealed +opened):\n%s", diff)
		}
	})
}

// Not one bit can be changed on the way, and nothing cut off or put behind.
func TestDatagramsAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newKey(secret(1), "r-1")
		d := drawDatagram(t, k)
		var b [Size]byte
		k.seal(&b, &d)
		bit := rapid.IntRange(0, 8*Size-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		if got, err := k.open(b[:]); err == nil {
			t.Fatalf("with bit %d turned round it is %+v", bit, got)
		}
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := k.open(b[:rapid.IntRange(0, Size-1).Draw(t, "length")]); !errors.Is(err, errLength) {
			t.Fatalf("cut off: %v", err)
		}
		if _, err := k.open(append(b[:], 0)); !errors.Is(err, errLength) {
			t.Fatalf("with a byte behind: %v", err)
		}
		if _, err := newKey(secret(2), "r-1").open(b[:]); err == nil {
			t.Fatal("it opens with another secret")
		}
		if _, err := newKey(secret(1), "r-2").open(b[:]); !errors.Is(err, errSession) {
			t.Fatalf("in another session of the same secret: %v", err)
		}
	})
}

// Whoever has the secret, and writes what has no meaning, is refused too.
func TestDatagramsWithoutMeaning(t *testing.T) {
	k := newKey(secret(1), "r-1")
	for what, change := range map[string]func(b []byte){
		"kind 0":     func(b []byte) { b[5] = 0 },
		"kind 3":     func(b []byte) { b[5] = 3 },
		"last 2":     func(b []byte) { b[7] = 2 },
		"exchange 0": func(b []byte) { clear(b[32:40]) },
		"not zero":   func(b []byte) { b[47] = 1 },
	} {
		var b [Size]byte
		k.seal(&b, &datagram{kind: kindRequest, path: 1, exchange: 7})
		change(b[:])
		copy(b[authenticated:], k.authenticate(b[:]))
		if _, err := k.open(b[:]); !errors.Is(err, errMeaning) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The form of a datagram is a contract between agents of different releases.
func TestDatagramOnTheWire(t *testing.T) {
	k := newKey(secret(1), "r-1")
	var b [Size]byte
	k.seal(&b, &datagram{
		kind: kindReply, path: synclinev1.ProbePath_PROBE_PATH_CONTROL, last: true,
		sender: k.name("host", "A"), receiver: k.name("host", "B"), exchange: 258,
	})
	sum := func(text string) []byte {
		h := hmac.New(sha256.New, secret(1))
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	want := []byte{'s', 'y', 'l', 'p', 1, 2, 2, 1}
	want = append(want, sum("syncline probe session r-1")[:8]...)
	want = append(want, sum("syncline probe host A")[:8]...)
	want = append(want, sum("syncline probe host B")[:8]...)
	want = binary.BigEndian.AppendUint64(want, 258)
	want = append(want, make([]byte, 8)...)
	want = append(want, sum(string(want))[:16]...)
	if diff := cmp.Diff(want, b[:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzDatagram holds what anybody may send against the rule: what opens was sealed with the
// key, and is what sealing makes of it.
func FuzzDatagram(f *testing.F) {
	k := newKey(secret(1), "r-1")
	var b [Size]byte
	k.seal(&b, &datagram{kind: kindRequest, path: 1, sender: k.name("host", "A"), receiver: k.name("host", "B"), exchange: 1})
	f.Add(b[:], false)
	f.Add(b[:], true)
	f.Add(b[:Size-1], false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		k := newKey(secret(1), "r-1")
		if sign && len(b) == Size {
			b = bytes.Clone(b)
			copy(b[authenticated:], k.authenticate(b))
		}
		d, err := k.open(b)
		if err != nil {
			if d != (datagram{}) {
				t.Fatalf("refused (%v), and said all the same: %+v", err, d)
			}
			return
		}
		var again [Size]byte
		k.seal(&again, &d)
		if !bytes.Equal(b, again[:]) {
			t.Fatalf("%x is opened as %+v, which is sealed as %x", b, d, again)
		}
	})
}
