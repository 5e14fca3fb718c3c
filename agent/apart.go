package agent

import (
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// keepApart gives the Unix sockets of this host names that no other host has, where
// hosts are addresses of one machine: the names of unix(7) are those of a network
// namespace, and a lab without namespaces has one for all its hosts.
func keepApart(lanes []*synclinev1.Lane, host string) {
	own := func(address *string) {
		if strings.HasPrefix(*address, "unix:") {
			*address += "@" + host
		}
	}
	for _, l := range lanes {
		for _, s := range l.Steps {
			switch c := s.Call.(type) {
			case *synclinev1.Step_Bind:
				own(&c.Bind.Address)
			case *synclinev1.Step_Connect:
				own(&c.Connect.Address)
			case *synclinev1.Step_Sendto:
				own(&c.Sendto.Address)
			}
		}
	}
}
