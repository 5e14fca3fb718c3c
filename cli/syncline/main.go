// Command syncline is the one binary of the lab: the operator's commands, the
// controller and the agent.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"syncline/agent/lane"
	"syncline/cli"
)

func main() {
	// The process of one lane is this program too, and nothing else of it.
	if lane.Child() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends ctx and with it the command, in order. After that
	// signals kill, as they do a program that does not listen to them.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
