package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// verifyTimeout is how long the bytes may take to come back.
const verifyTimeout = 10 * time.Second

// runVerify is the client with which every peer is verified: it fails unless random
// bytes come back unchanged from TARGET or, with -refused, if any come back.
func runVerify(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error contains what is wrong
	from := flags.String("from", "", "source `address`")
	opening := flags.String("opening", "", "first `bytes` of each connection, in base64")
	refused := flags.Bool("refused", false, "expect to be refused")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: verify [-from ADDRESS] [-opening BYTES] [-refused] TARGET")
	}
	first, err := base64.StdEncoding.DecodeString(*opening)
	if err != nil {
		return fmt.Errorf("-opening: %w", err)
	}
	var dialer net.Dialer
	if *from != "" {
		address := net.ParseIP(*from)
		if address == nil {
			return fmt.Errorf("%q is not an IP address", *from)
		}
		dialer.LocalAddr = &net.TCPAddr{IP: address}
	}
	if *refused {
		return verifyRefused(ctx, &dialer, flags.Arg(0))
	}
	return verify(ctx, &dialer, flags.Arg(0), first)
}

// openingFlag are the arguments that give verify the first bytes of each connection.
func openingFlag(opening []byte) []string {
	if opening == nil {
		return nil
	}
	return []string{"-opening", base64.StdEncoding.EncodeToString(opening)}
}

// verify sends a few sizes of random bytes to address, each after the opening, and
// expects the same bytes back.
func verify(ctx context.Context, dialer *net.Dialer, address string, opening []byte) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	random := rand.NewChaCha8([32]byte{})
	for _, size := range []int{1, 1000, 4 << 20} {
		sent := make([]byte, size)
		// ChaCha8 never fails to fill a slice.
		_, _ = random.Read(sent)
		if err := roundTrip(ctx, dialer, address, slices.Concat(opening, sent)); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	return nil
}

// verifyRefused sends bytes to address and expects a FIN or a reset instead of an
// echo.
func verifyRefused(ctx context.Context, dialer *net.Dialer, address string) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	err := roundTrip(ctx, dialer, address, bytes.Repeat([]byte{'?'}, 1000))
	var timeout net.Error
	switch {
	case err == nil:
		return errors.New("a client that is not allowed was served")
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("a client that is not allowed was left waiting: %w", err)
	}
	return nil
}

// roundTrip sends bytes and fails unless the same come back.
func roundTrip(ctx context.Context, dialer *net.Dialer, address string, sent []byte) error {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- err
	}()
	received := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, received); err != nil {
		return fmt.Errorf("reading the echo: %w", err)
	}
	if err := <-written; err != nil {
		return err
	}
	if !bytes.Equal(received, sent) {
		return errors.New("different bytes came back")
	}
	return nil
}
