package probe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	synclinev1 "syncline/proto/syncline/v1"
)

// Size is the length of a datagram, of a request and of a reply alike.
//
// All numbers are big-endian:
//
//	 0  magic number                  4 bytes
//	 4  version                       1
//	 5  kind: 1 request, 2 reply      1
//	 6  path, as in ProbePath         1
//	 7  1: the last of its sender     1
//	 8  session                       8
//	16  sender                        8
//	24  receiver                      8
//	32  exchange                      8
//	40  zero                          8
//	48  authentication               16
//
// Session and hosts are the first bytes of HMAC-SHA256 over their names: whoever listens
// learns no names. The authentication is that over all bytes before it.
const Size = 64

// Parts of a datagram.
const (
	Magic   = 0x73796c70 // "sylp"
	Version = 1

	kindRequest = 1
	kindReply   = 2

	authenticated = 48 // bytes that the authentication is over
)

// datagram is what a verified datagram says.
type datagram struct {
	kind     byte
	path     synclinev1.ProbePath
	last     bool
	sender   tag
	receiver tag
	exchange uint64
}

// tag stands for a name within a session.
type tag [8]byte

// Reasons to refuse a datagram. Nobody is told but the tests.
var (
	errLength  = errors.New("not a probe: its length")
	errMagic   = errors.New("not a probe: its magic number or version")
	errSession = errors.New("of another session")
	errForged  = errors.New("not authentic")
	errMeaning = errors.New("authentic and without meaning")
)

// key makes and checks datagrams of one session. It is not safe for concurrent use.
type key struct {
	mac     hash.Hash
	session tag
	sum     [sha256.Size]byte
}

func newKey(secret []byte, session string) *key {
	k := &key{mac: hmac.New(sha256.New, secret)}
	k.session = k.name("session", session)
	return k
}

// name is the tag of a name. What it is the name of keeps the tags of two kinds apart, and
// is no datagram's beginning.
func (k *key) name(kind, name string) (t tag) {
	k.mac.Reset()
	fmt.Fprintf(k.mac, "syncline probe %s %s", kind, name)
	copy(t[:], k.mac.Sum(k.sum[:0]))
	return t
}

// authenticate is the authentication of the first bytes of a datagram; valid until the
// next call.
func (k *key) authenticate(b []byte) []byte {
	k.mac.Reset()
	k.mac.Write(b[:authenticated])
	return k.mac.Sum(k.sum[:0])[:Size-authenticated]
}

// seal writes a datagram.
func (k *key) seal(b *[Size]byte, d *datagram) {
	clear(b[:])
	binary.BigEndian.PutUint32(b[0:], Magic)
	b[4], b[5], b[6] = Version, d.kind, byte(d.path)
	if d.last {
		b[7] = 1
	}
	copy(b[8:], k.session[:])
	copy(b[16:], d.sender[:])
	copy(b[24:], d.receiver[:])
	binary.BigEndian.PutUint64(b[32:], d.exchange)
	copy(b[authenticated:], k.authenticate(b[:]))
}

// open reads a datagram from anybody. The cheap looks come first; nothing of one that does
// not verify is believed.
func (k *key) open(b []byte) (d datagram, err error) {
	switch {
	case len(b) != Size:
		return d, errLength
	case binary.BigEndian.Uint32(b) != Magic || b[4] != Version:
		return d, errMagic
	case tag(b[8:16]) != k.session:
		return d, errSession
	case !hmac.Equal(b[authenticated:], k.authenticate(b)):
		return d, errForged
	}
	d = datagram{
		kind: b[5], path: synclinev1.ProbePath(b[6]), last: b[7] == 1,
		sender: tag(b[16:24]), receiver: tag(b[24:32]), exchange: binary.BigEndian.Uint64(b[32:]),
	}
	if d.kind != kindRequest && d.kind != kindReply || b[7] > 1 || d.exchange == 0 || binary.BigEndian.Uint64(b[40:]) != 0 {
		return datagram{}, errMeaning
	}
	return d, nil
}
