package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// orderMask is the sysctl by which a new link of a namespace gets its receive packet
// steering (Documentation/networking/scaling.rst; since Linux 6.3).
const orderMask = "/proc/sys/net/core/rps_default_mask"

// keepOrder steers the packets of every link that is made in a namespace from now on: the
// hash of a flow names the processor that receives them. By itself a veth receives on the
// processor that sends, so that a thread which moves to another one between two packets of
// a connection may have the second overtake the first, while the first processor is busy.
// No network card does that to a connection.
//
// A packet then often costs an interrupt of the other processor.
func keepOrder(ns *os.File) error {
	return inNamespace(ns, func() error {
		err := os.WriteFile(orderMask, []byte(processorMask(runtime.NumCPU())), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("netlab: keep the packets of a connection in order: this kernel has no %s, it came with Linux 6.3", orderMask)
		}
		if err != nil {
			return privileged("keep the packets of a connection in order: write "+orderMask, err)
		}
		return nil
	})
}

// processorMask has a bit for each of the first n processors, in the kernel's form: words of
// 32 bits, the highest first (bitmap_parse in lib/bitmap-str.c).
func processorMask(n int) string {
	var words []string
	for ; n > 0; n -= 32 {
		words = append([]string{fmt.Sprintf("%x", uint32(1<<min(n, 32)-1))}, words...)
	}
	return strings.Join(words, ",")
}
