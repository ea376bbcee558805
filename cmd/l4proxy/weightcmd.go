package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

func newWeightCommand() *cobra.Command {
	var pool, backend string
	var reset bool
	var weight admin.Weight
	cmd := &cobra.Command{
		Use:   "weight N",
		Short: "Change the weight of a backend while the proxy runs",
		Long: "Give a backend of a running proxy another weight, from 1 to 1000.\n\n" +
			"The weight stays until it is reset, even across reloads and upgrades. A restart returns to the\n" +
			"weight of the configuration. Open connections stay where they are. To send a backend no new\n" +
			"clients, use 'l4proxy drain'.",
		Example: "  l4proxy weight --backend 10.0.0.5:5432 50\n" +
			"  l4proxy weight --backend 10.0.0.5:5432 --reset",
	}
	newAdminCommand(cmd, func(ctx context.Context, c *client.Client, out io.Writer) (any, error) {
		if pool == "" {
			found, err := poolOf(ctx, c, backend)
			if err != nil {
				return nil, err
			}
			pool = found
		}
		answer, err := c.SetWeight(ctx, pool, backend, weight)
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(out, printable(describeWeight(answer.Pool, answer.Backend, answer.Weight, answer.ConfiguredWeight)))
		return answer, nil
	})
	flags := cmd.Flags()
	flags.StringVar(&pool, "pool", "", "name of the pool; needed if several pools have the backend")
	flags.StringVar(&backend, "backend", "", "address of a backend, as in the configuration")
	flags.BoolVar(&reset, "reset", false, "return to the weight of the configuration")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case backend == "":
			return errors.New("--backend is missing: name a backend")
		case cmd.Flags().Changed("pool") && pool == "":
			return errors.New("--pool is empty: write a value")
		case reset && len(args) > 0:
			return errors.New("--reset cannot be combined with a weight")
		case reset:
			return nil
		case len(args) != 1:
			return errors.New("write one weight from 1 to 1000, or --reset")
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 || n > admin.MaxWeight {
			return fmt.Errorf("%q is not a weight from 1 to %d: to send a backend no new clients, use l4proxy drain", args[0], admin.MaxWeight)
		}
		weight = admin.Weight(n)
		return nil
	}
	return cmd
}

// poolOf finds the only pool that has a backend.
func poolOf(ctx context.Context, c *client.Client, backend string) (string, error) {
	pools, err := c.Pools(ctx)
	if err != nil {
		return "", err
	}
	var in []string
	for i := range pools {
		if poolHasBackend(&pools[i], backend) {
			in = append(in, pools[i].Name)
		}
	}
	switch len(in) {
	case 1:
		return in[0], nil
	case 0:
		return "", admin.NotFound("unknown backend "+backend, "l4proxy status lists the listeners, pools and backends")
	}
	return "", fmt.Errorf("the pools %s all have a backend %s: name the pool, too", strings.Join(in, ", "), backend)
}

func poolHasBackend(p *admin.PoolStatus, address string) bool {
	for i := range p.Backends {
		if b := &p.Backends[i]; b.Address == address || b.Resolved == address {
			return true
		}
	}
	for i := range p.Names {
		if p.Names[i].Backend == address {
			return true
		}
	}
	return false
}
