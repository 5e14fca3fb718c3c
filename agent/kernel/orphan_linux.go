package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// destroyType is SOCK_DESTROY of linux/sock_diag.h.
const destroyType = 21

// EndOrphans ends what is left of a run's connections when their processes have closed them: sockets
// that nobody holds and that still wait for the peer, in FIN_WAIT1, FIN_WAIT2, CLOSING and
// LAST_ACK. Without it they go on sending, for a minute or two if the peer is out of reach
// (tcp_orphan_retries and tcp_fin_timeout, ip-sysctl). The peer gets a RST. Each is named by
// its cookie, so that no other can be meant; those that a process holds, and connections
// that wait to be accepted, are left alone.
//
// It needs CAP_NET_ADMIN, and a kernel with CONFIG_INET_DIAG_DESTROY; without them the error says
// so, and the sockets end by themselves, later.
func EndOrphans(f Flows) (ended []Socket, err error) {
	d, err := openDiag()
	if err != nil {
		return nil, err
	}
	defer d.close()
	f = f.plain()
	orphans, err := d.dump(orphanStates, func(s Socket) bool { return s.Inode == 0 && f.connected(s) })
	if err != nil {
		return nil, err
	}
	for _, s := range orphans {
		err := d.destroy(s)
		switch {
		case err == nil:
			ended = append(ended, s)
		case errors.Is(err, unix.ENOENT):
			// It has just ended.
		default:
			return ended, err
		}
	}
	return ended, nil
}

// destroy ends one socket, as it was found.
func (d *diag) destroy(s Socket) (err error) {
	defer func() {
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return
		case errors.Is(err, unix.EPERM):
			err = fmt.Errorf("%w; it takes CAP_NET_ADMIN", err)
		case errors.Is(err, unix.EOPNOTSUPP):
			err = fmt.Errorf("%w; this kernel cannot (CONFIG_INET_DIAG_DESTROY)", err)
		}
		err = fmt.Errorf("end TCP socket %v %v in %v by SOCK_DESTROY of sock_diag: %w", s.Local, s.Remote, s.State, err)
	}()
	body := exact(s.Local, s.Remote, s.Interface)
	binary.NativeEndian.PutUint32(body[4:], 1<<s.State)
	binary.NativeEndian.PutUint32(body[48:], uint32(s.Cookie))
	binary.NativeEndian.PutUint32(body[52:], uint32(s.Cookie>>32))
	m := make([]byte, messageHeader, messageHeader+diagRequest)
	binary.NativeEndian.PutUint32(m[0:], messageHeader+diagRequest)
	binary.NativeEndian.PutUint16(m[4:], destroyType)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := d.send(append(m, body[:]...)); err != nil {
		return err
	}
	n, err := d.receive()
	if err != nil {
		return err
	}
	_, done, err := answer(d.buffer[:n], nil, func(Socket) bool { return false })
	if err == nil && !done {
		return errMalformed
	}
	return named(err)
}
