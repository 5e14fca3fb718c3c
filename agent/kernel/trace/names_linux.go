//go:build 386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64

package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// reasons reads the kernel's own names of an enum's values, prefixes cut. A kernel
// without the enum has no reasons, and no names.
func reasons(kernel *btf.Spec, enum string, prefixes ...string) (map[uint32]string, error) {
	var e *btf.Enum
	if err := kernel.TypeByName(enum, &e); errors.Is(err, btf.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("trace: read enum %s of the kernel's BTF: %w", enum, err)
	}
	names := make(map[uint32]string, len(e.Values))
	for _, v := range e.Values {
		name := v.Name
		for _, p := range prefixes {
			name = strings.TrimPrefix(name, p)
		}
		names[uint32(v.Value)] = name
	}
	return names, nil
}

// places names functions of the kernel. /proc/kallsyms is read anew for each address
// that is new: the places that drop packets are few, and all symbols are megabytes.
type places struct{ known map[uint64]string }

// name is the function that an address lies in; "" if the kernel does not tell, which
// takes CAP_SYSLOG on many hosts.
func (p *places) name(address uint64) string {
	if address == 0 {
		return ""
	}
	name, ok := p.known[address]
	if !ok {
		name = symbol("/proc/kallsyms", address)
		if p.known == nil {
			p.known = make(map[uint64]string)
		}
		p.known[address] = name
	}
	return name
}

// symbol finds the last function at or before an address in a list as /proc/kallsyms
// is one. The list is not in order.
func symbol(path string, address uint64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	best, name := uint64(0), ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		at, rest, ok := bytes.Cut(lines.Bytes(), []byte(" "))
		if !ok || len(rest) < 3 || rest[0] != 't' && rest[0] != 'T' && rest[0] != 'w' && rest[0] != 'W' {
			continue
		}
		start, err := strconv.ParseUint(string(at), 16, 64)
		if err != nil || start > address || start <= best {
			continue
		}
		best, name = start, string(rest[2:])
	}
	name, _, _ = strings.Cut(name, "\t")
	// The compiler's own endings say nothing of the kernel: tcp_v4_rcv.cold.
	name, _, _ = strings.Cut(name, ".")
	return name
}
