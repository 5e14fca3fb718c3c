package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// replaced takes a node out of the cluster; healing brings one in its place, with an empty
// disk and another name.
func (i *injury) replaced(n *chaosNode, wiped bool) error {
	_, err := n.hold(syscall.SIGKILL)
	if err == nil && wiped {
		err = os.RemoveAll(n.data())
	}
	if err != nil {
		n.release()
		return err
	}
	i.heal = func() (string, error) {
		defer n.release()
		old := n.id()
		if err := i.replaceNow(n); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s is node %s, was %s", n.tag, n.id(), old), nil
	}
	return nil
}

// replaceNow removes a node from the cluster, and lets a new one join in its place. One that was
// removed with its disk whole joins under a new name too: the old one is of the past.
func (i *injury) replaceNow(n *chaosNode) error {
	_, err := n.hold(syscall.SIGKILL)
	defer n.release()
	if err != nil {
		return err
	}
	old := n.id()
	if _, err := i.lab.until(30*time.Second, func() error {
		leader := i.lab.leader()
		if leader == nil {
			return errors.New("no node leads")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := synclinev1.NewClusterServiceClient(i.lab.conn("alice", leader.address())).RemoveNode(ctx, &synclinev1.RemoveNodeRequest{Id: old})
		return err
	}); err != nil {
		return fmt.Errorf("remove node %s: %w", old, err)
	}
	if err := os.RemoveAll(n.data()); err != nil {
		return err
	}
	i.lab.mu.Lock()
	i.lab.joined++
	n.name = fmt.Sprintf("%s-%d", n.tag, i.lab.joined)
	i.lab.mu.Unlock()
	if err := i.lab.tryIssue(identity.Controller, n.id()); err != nil {
		return err
	}
	_, err = i.lab.until(time.Minute, func() error {
		leader := i.lab.leader()
		if leader == nil {
			return errors.New("no node leads")
		}
		said, err := i.lab.try(n.host, append([]string{"cluster", "join", leader.address(), "--advertise", n.address(), "--data", n.data()}, i.lab.who(n.id())...)...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("let node %s join: %w", n.id(), err)
	}
	return nil
}
