package setup

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often a dump is asked for that changes while it is read.
const dumpTries = 10

// attributeType is NLA_TYPE_MASK: the rest of an attribute's type are two flags.
const attributeType = 0x3fff

// ask sends one request of rtnetlink(7) and returns the bodies of the answers. The
// error of the kernel has its errno and, where the kernel gives one, its own words.
func ask(kind uint16, flags netlink.HeaderFlags, body []byte) (bodies [][]byte, err error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open an rtnetlink socket: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	// Older kernels have no words; the errno is enough then.
	_ = c.SetOption(netlink.ExtendedAcknowledge, true)
	m := netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags}, Data: body,
	}
	for range dumpTries {
		answers, err := c.Execute(m)
		if err != nil {
			return nil, kernelError(err)
		}
		bodies = bodies[:0]
		whole := true
		for _, a := range answers {
			bodies = append(bodies, a.Data)
			whole = whole && a.Header.Flags&netlink.DumpInterrupted == 0
		}
		if whole {
			return bodies, nil
		}
	}
	return nil, fmt.Errorf("a netlink dump changed %d times while it was read", dumpTries)
}

// dump lists all objects of a kind.
func dump(kind uint16, body []byte) ([][]byte, error) { return ask(kind, netlink.Dump, body) }

// command changes something and waits for the kernel's answer.
func command(kind uint16, flags netlink.HeaderFlags, body []byte) error {
	_, err := ask(kind, netlink.Acknowledge|flags, body)
	return err
}

// kernelError keeps of an error what a person can use: errno and the kernel's words.
func kernelError(err error) error {
	op, ok := errors.AsType[*netlink.OpError](err)
	if !ok || op.Message == "" {
		return err
	}
	if errno, ok := errors.AsType[unix.Errno](op.Err); ok {
		return fmt.Errorf("%w (the kernel says: %s)", errno, op.Message)
	}
	return err
}

// attributes reads what follows the fixed header of a message.
func attributes(body []byte, header int) ([]netlink.Attribute, error) {
	if len(body) < header {
		return nil, fmt.Errorf("netlink message of %d bytes, its header has %d", len(body), header)
	}
	return netlink.UnmarshalAttributes(body[header:])
}

// attribute is the value of the first attribute of a type, or nil.
func attribute(all []netlink.Attribute, kind uint16) []byte {
	for _, a := range all {
		if a.Type&attributeType == kind {
			return a.Data
		}
	}
	return nil
}

func uint32Of(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func bytes32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// message joins a fixed header and attributes.
func message(header []byte, all []netlink.Attribute) ([]byte, error) {
	text, err := netlink.MarshalAttributes(all)
	if err != nil {
		return nil, fmt.Errorf("encode netlink attributes: %w", err)
	}
	return append(header[:len(header):len(header)], text...), nil
}

func encode(m []byte) string { return base64.StdEncoding.EncodeToString(m) }

// decode reads a kernel message that was saved; header is the length of its fixed part.
func decode(text string, header int) ([]byte, error) {
	m, err := base64.StdEncoding.DecodeString(text)
	if err == nil && len(m) < header {
		err = fmt.Errorf("%d bytes, at least %d", len(m), header)
	}
	if err != nil {
		return nil, fmt.Errorf("a saved kernel message: %w: %w", errDamaged, err)
	}
	return m, nil
}
