package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
)

// errNoLab is what errors.Is finds where something for hosts of a local lab alone is asked
// for elsewhere.
var errNoLab = errors.New("this network namespace is no host of a local lab")

// labAddress is what the hardware addresses of a lab's hosts have in common, behind the
// first byte: deploy/netlab gives 02:73:79:6e:63:NN to eth0 and 06:… to ctl0.
var labAddress = []byte{0x73, 0x79, 0x6e, 0x63}

// inLab says whether this process is in a host that deploy/netlab has made: nil, or an
// error that is errNoLab, says what was found and what to do. It looks at the network
// namespace of the calling thread.
func inLab() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("look for a lab's interfaces: %w", err)
	}
	return labAmong(interfaces)
}

func labAmong(interfaces []net.Interface) error {
	var found []string
	for _, i := range interfaces {
		if a := i.HardwareAddr; len(a) == 6 && (a[0] == 0x02 || a[0] == 0x06) && bytes.Equal(a[1:5], labAddress) {
			return nil
		}
		if i.Flags&net.FlagLoopback == 0 {
			found = append(found, strings.TrimSpace(i.Name+" "+i.HardwareAddr.String()))
		}
	}
	if len(found) == 0 {
		found = []string{"none but the loopback"}
	}
	const most = 4
	if len(found) > most {
		found = append(found[:most], fmt.Sprintf("and %d more", len(found)-most))
	}
	return fmt.Errorf("%w: its interfaces are %s, and those of a lab have hardware addresses 02:73:79:6e:63:NN; start the agent in a lab that syncline demo makes, as root, or leave the test clock out",
		errNoLab, strings.Join(found, ", "))
}
