package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// commands are the parts of this program that it runs in processes of their own,
// perhaps in another network namespace: "bench NAME ARGUMENT...". They get the
// arguments, and end when ctx does.
var commands = map[string]func(ctx context.Context, args []string) error{
	clientCommand:  runClientCommand,
	originCommand:  runOriginCommand,
	observeCommand: runObserveCommand,
	"verify":       runVerify,
}

// runCommand runs the command that args begin with, until it ends or SIGINT or
// SIGTERM comes, and returns its exit code. ok is false if args begin with no
// command.
func runCommand(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	run, ok := commands[args[0]]
	if !ok {
		return 0, false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}
