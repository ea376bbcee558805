package main

import (
	"fmt"
	"io"
	"strings"

	"l4proxy/admin"
	"l4proxy/internal/term"
)

// printConns writes a table of connections for people, and says how many there are.
func printConns(w io.Writer, page *admin.ConnectionPage) error {
	var b strings.Builder
	if len(page.Connections) > 0 {
		b.WriteString(tableOfConns(page.Connections, true).Render(screenOf(w)))
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

// tableOfConns has one row per connection. A sample of a kill has no rates.
func tableOfConns(conns []admin.Connection, rates bool) *term.Table {
	columns := []term.Column{
		term.Text("ID"), term.Text("CLIENT").Short(15), term.Text("LISTENER").Short(8).Optional(2), term.Text("BACKEND").Short(15), term.Text("STATE").Optional(3),
		term.Number("AGE"), term.Number("IDLE"), term.Number("IN").Optional(1), term.Number("OUT").Optional(1),
	}
	if rates {
		columns = append(columns, term.Number("IN/S"), term.Number("OUT/S"))
	}
	table := term.NewTable(append(columns, term.Number("RTT").Optional(5), term.Number("RETR").Optional(4))...)
	for i := range conns {
		c := &conns[i]
		row := []any{
			c.ID, orDash(c.Client), c.Listener, orDash(c.Backend), c.State, term.Seconds(c.Age), term.Seconds(c.Idle),
			bytesText(float64(c.BytesIn)), bytesText(float64(c.BytesOut)),
		}
		if rates {
			row = append(row, bytesText(c.RateIn), bytesText(c.RateOut))
		}
		rtt, retransmits := tcpTexts(c.ClientTCP, c.BackendTCP)
		table.Row(append(row, rtt, retransmits)...)
	}
	return table
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// tcpTexts are what the kernel knows about both sides, the client's first.
func tcpTexts(client, backend *admin.TCPInfo) (rtt, retransmits string) {
	side := func(t *admin.TCPInfo) (rtt, retransmits string) {
		if t == nil {
			return "-", "-"
		}
		return term.Millis(t.RTT), fmt.Sprint(t.Retransmits)
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
