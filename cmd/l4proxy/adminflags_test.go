package main

import (
	"errors"
	"net/http"
	"testing"

	"l4proxy/admin"
	"l4proxy/admin/client"
)

// An error that came over the network cannot control the terminal.
func TestErrorsOfTheProxyArePrintable(t *testing.T) {
	c, err := client.New("127.0.0.1:9901", "")
	if err != nil {
		t.Fatal(err)
	}
	err = explainAdmin(c, admin.Conflict("busy\x1b[2J", "wait\u009b1m"))
	var refused *admin.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusConflict || err.Error() != "busy?[2J: wait?1m" {
		t.Errorf("error %q", err)
	}
}
