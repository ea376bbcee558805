package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newBansSyncCommand() *cobra.Command {
	s := new(banSync)
	var address, keyFile string
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Feed a running proxy with bans of CrowdSec",
		Long: "Keep the bans of a running proxy in step with the decisions of CrowdSec, until SIGTERM or SIGINT.\n" +
			"It is a bouncer: 'cscli bouncers add l4proxy' makes the key. Decisions about countries or\n" +
			"networks of a number (AS), and those that ask for something else than a ban, are left out.\n\n" +
			"Bans that an operator has set stay. If the proxy restarts, all decisions are sent again.",
		Example: "  l4proxy bans sync --crowdsec http://127.0.0.1:8080 --key-file /etc/l4proxy/crowdsec.key\n" +
			"  l4proxy bans sync --crowdsec http://127.0.0.1:8080 --key-file key --once",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		key, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the key: %w", err)
		}
		if s.from, err = newCrowdsec(address, strings.TrimSpace(string(key))); err != nil {
			return nil, err
		}
		s.proxy, s.out, s.errors = c, out, cmd.ErrOrStderr()
		return s.run(ctx)
	})
	cmd.Flags().StringVar(&address, "crowdsec", "", "URL of the local API of CrowdSec")
	cmd.Flags().StringVar(&keyFile, "key-file", "", "file with the key of the bouncer")
	cmd.Flags().DurationVar(&s.every, "interval", 10*time.Second, "time between two requests")
	cmd.Flags().BoolVar(&s.once, "once", false, "send all decisions once, and end")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case address == "":
			return errors.New("--crowdsec is missing: write --crowdsec http://127.0.0.1:8080")
		case keyFile == "":
			return errors.New("--key-file is missing: name a file with the key that 'cscli bouncers add l4proxy' prints")
		case s.every < 100*time.Millisecond:
			return fmt.Errorf("--interval %s is too short: write 1s or more", s.every)
		}
		return noArguments(cmd, args)
	}
	return cmd
}

// banSync keeps the bans of a proxy in step with CrowdSec.
type banSync struct {
	from   *crowdsec
	proxy  *client.Client
	out    io.Writer
	errors io.Writer
	every  time.Duration
	once   bool

	started time.Time // the proxy that has all decisions; zero if none has
}

// synced is what one request has changed.
type synced struct {
	// Full says that all decisions in force were sent.
	Full    bool `json:"full"`
	Banned  int  `json:"banned"`
	Removed int  `json:"removed"`
	// LeftOut decisions are about no address, or no ban.
	LeftOut int `json:"left_out"`
}

// run syncs until ctx is done, or once.
func (s *banSync) run(ctx context.Context) (*synced, error) {
	for failures := 0; ; {
		result, err := s.step(ctx)
		switch {
		case s.once:
			return result, err
		case ctx.Err() != nil:
			return nil, nil
		case err != nil:
			s.started = time.Time{} // what the proxy has is unknown
			failures++
			fmt.Fprintf(s.errors, "l4proxy: %s\n", printable(explainAdmin(s.proxy, err).Error()))
		default:
			failures = 0
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(s.every * time.Duration(1+min(failures, 5))):
		}
	}
}

// step makes one request, and sends what has changed.
func (s *banSync) step(ctx context.Context) (*synced, error) {
	status, err := s.proxy.Status(ctx)
	if err != nil {
		return nil, err
	}
	full := !status.Started.Equal(s.started)
	d, err := s.from.stream(ctx, full)
	if err != nil {
		return nil, err
	}
	add, others := banList(d.New)
	result := &synced{Full: full, Banned: len(add), LeftOut: others}
	var gone []admin.Prefix
	if full {
		gone, err = s.stale(ctx, add)
		if err != nil {
			return nil, err
		}
	} else {
		for i := range d.Deleted {
			if p, ok := d.Deleted[i].prefix(); ok {
				if _, again := add[p.Prefix]; !again {
					gone = append(gone, p)
				}
			}
		}
	}
	if err := s.send(ctx, add); err != nil {
		return nil, err
	}
	if result.Removed, err = s.remove(ctx, gone); err != nil {
		return nil, err
	}
	s.started = status.Started
	if full || result.Banned+result.Removed > 0 {
		fmt.Fprintf(s.out, "%s set, %d removed\n", count(result.Banned, "ban"), result.Removed)
	}
	return result, nil
}

// stale are the bans of CrowdSec that are not among its decisions.
func (s *banSync) stale(ctx context.Context, now map[netip.Prefix]admin.BanEntry) (gone []admin.Prefix, err error) {
	page, err := banPages(ctx, s.proxy, admin.BanQuery{Source: crowdsecSource}, 0, true)
	if err != nil {
		return nil, err
	}
	for _, b := range page.Bans {
		if _, ok := now[b.Prefix.Prefix]; !ok {
			gone = append(gone, b.Prefix)
		}
	}
	return gone, nil
}

// syncBatch is how many bans are in one request: about 4 MB.
const syncBatch = 20_000

func (s *banSync) send(ctx context.Context, add map[netip.Prefix]admin.BanEntry) error {
	request := admin.BanRequest{Source: crowdsecSource}
	flush := func() error {
		if len(request.Bans) == 0 {
			return nil
		}
		_, err := s.proxy.Ban(ctx, request)
		request.Bans = request.Bans[:0]
		return err
	}
	for _, e := range add {
		if request.Bans = append(request.Bans, e); len(request.Bans) == syncBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (s *banSync) remove(ctx context.Context, gone []admin.Prefix) (removed int, err error) {
	for len(gone) > 0 {
		n := min(len(gone), syncBatch)
		answer, err := s.proxy.Unban(ctx, admin.UnbanRequest{Prefixes: gone[:n], Source: crowdsecSource})
		if err != nil {
			return removed, err
		}
		removed += answer.Removed
		gone = gone[n:]
	}
	return removed, nil
}
