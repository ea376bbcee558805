package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"l4proxy/admin"
)

// printConns writes a table of connections for people, and says how many there are.
func printConns(w io.Writer, page *admin.ConnectionPage) error {
	var b strings.Builder
	if len(page.Connections) > 0 {
		tableOfConns(&b, page.Connections)
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d of %s", page.Matched, count(page.Total, "connection"))
	if shown := len(page.Connections); shown < page.Matched && page.Next != "" {
		fmt.Fprintf(&b, ", %d shown: --all shows all of them, --limit more", shown)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func tableOfConns(w io.Writer, conns []admin.Connection) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "ID\tCLIENT\tLISTENER\tBACKEND\tSTATE\tAGE\tIDLE\tIN\tOUT\tIN/S\tOUT/S\tRTT\tRETR\n")
	for i := range conns {
		c := &conns[i]
		rtt, retransmits := tcpTexts(c.ClientTCP, c.BackendTCP)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(c.ID), printable(c.Client), printable(c.Listener),
			orDash(c.Backend), printable(c.State), secondsText(c.Age), secondsText(c.Idle), bytesText(float64(c.BytesIn)), bytesText(float64(c.BytesOut)),
			bytesText(c.RateIn), bytesText(c.RateOut), rtt, retransmits)
	}
	_ = table.Flush() // into memory
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

func secondsText(s float64) string { return ago(time.Duration(s * float64(time.Second))) }

// tcpTexts are what the kernel knows about both sides, the client's first.
func tcpTexts(client, backend *admin.TCPInfo) (rtt, retransmits string) {
	side := func(t *admin.TCPInfo) (rtt, retransmits string) {
		if t == nil {
			return "-", "-"
		}
		return fmt.Sprintf("%.1fms", t.RTT*1e3), fmt.Sprint(t.Retransmits)
	}
	rtt, retransmits = side(client)
	rtt2, retransmits2 := side(backend)
	return rtt + "/" + rtt2, retransmits + "/" + retransmits2
}

// bytesText is a number of bytes with three digits at most: "0", "999", "1.5k", "12.3M".
func bytesText(n float64) string {
	units := []string{"", "k", "M", "G", "T", "P"}
	i := 0
	for ; n >= 999.5 && i < len(units)-1; i++ {
		n /= 1000
	}
	if i == 0 || n >= 99.95 {
		return fmt.Sprintf("%.0f%s", n, units[i])
	}
	return fmt.Sprintf("%.1f%s", n, units[i])
}
