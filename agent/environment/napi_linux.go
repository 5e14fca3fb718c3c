package environment

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	attribute "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The netdev family of generic netlink, linux/netdev.h.
const (
	netdevFamily  = "netdev"
	netdevNapiGet = 11

	napiIfindex         = 1
	napiDeferHardIrqs   = 5
	napiGroFlushTimeout = 6
)

// groFlush is how long an interface may hold segments back to join them (NAPI's
// gro_flush_timeout), and how often it polls again before it turns interrupts on. It
// asks netlink and not /sys, which may be that of another network namespace.
func groFlush(index int) (string, error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return "", fmt.Errorf("find the generic netlink family %s, which kernels have since 6.3: %w", netdevFamily, err)
	}
	request := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	request.AddData(genericHeader{netdevNapiGet, 1, 0, 0})
	request.AddData(nl.NewRtAttr(napiIfindex, nl.Uint32Attr(uint32(index))))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if isUnsupported(err) {
		return "", fmt.Errorf("ask for the NAPI of interface %d, which kernels tell since 6.8: %w", index, err)
	}
	if err != nil {
		return "", fmt.Errorf("ask for the NAPI of interface %d: %w", index, err)
	}
	var all []string
	for _, b := range answers {
		text, err := napi(b)
		if err != nil {
			return "", fmt.Errorf("read the NAPI of interface %d: %w", index, err)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "none: the interface polls nothing now", nil
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; "), nil
}

// genericHeader is struct genlmsghdr: command, version, and two bytes that kernels
// refuse if they are not 0.
type genericHeader [4]byte

// Len is its length on the wire.
func (h genericHeader) Len() int { return len(h) }

// Serialize is the header on the wire.
func (h genericHeader) Serialize() []byte { return h[:] }

// napi reads one answer: the header of generic netlink, then attributes.
func napi(b []byte) (string, error) {
	if len(b) < len(genericHeader{}) {
		return "", fmt.Errorf("%d bytes are no answer of generic netlink", len(b))
	}
	// The decoder of the library that sends the request trusts lengths.
	attributes, err := attribute.NewAttributeDecoder(b[len(genericHeader{}):])
	if err != nil {
		return "", err
	}
	flush, polls := "not told", "not told"
	for attributes.Next() {
		value := attributes.Bytes()
		switch attributes.Type() {
		case napiDeferHardIrqs:
			if len(value) == 4 {
				polls = fmt.Sprint(binary.NativeEndian.Uint32(value))
			}
		case napiGroFlushTimeout:
			// The kernel writes an integer in as few bytes as it needs, 4 or 8.
			switch len(value) {
			case 4:
				flush = time.Duration(binary.NativeEndian.Uint32(value)).String()
			case 8:
				flush = time.Duration(binary.NativeEndian.Uint64(value)).String()
			}
		}
	}
	if err := attributes.Err(); err != nil {
		return "", err
	}
	return fmt.Sprintf("after %s, %s polls before interrupts", flush, polls), nil
}
