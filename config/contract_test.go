package config

import (
	"reflect"
	"testing"
	"time"
)

// The whole example of the configuration language is accepted, and its values are the defaults
// where it shows defaults.
func TestWholeLanguage(t *testing.T) {
	c, err := Load("testdata/full/contract.yaml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	var want Config
	SetDefaults(&want)
	if c.Log != want.Log || c.Workers != want.Workers || c.Engine != want.Engine ||
		c.MaxConnections != want.MaxConnections || c.Drain != want.Drain {
		t.Errorf("the example has %+v, the defaults are %+v", c, want)
	}
	var wantListener Listener
	SetDefaults(&wantListener)
	l := c.Listeners[0]
	if l.Name != "postgres" || l.DenyMessage != wantListener.DenyMessage || l.Timeouts != wantListener.Timeouts {
		t.Errorf("the example has %+v, the defaults are %+v", l, wantListener)
	}
	var wantPool Pool
	SetDefaults(&wantPool)
	p0 := c.Pools[0]
	if p0.Name != "pg" || p0.Policy != wantPool.Policy || p0.Connect != wantPool.Connect ||
		p0.OnDown != wantPool.OnDown || p0.OnRemoved != wantPool.OnRemoved {
		t.Errorf("the example has %+v, the defaults are %+v", p0, wantPool)
	}
	checks, err := Parse("checks.yaml", []byte("listeners: {a: {bind: \":1\"}}\npools: {a: {backends: [\"h:1\"], health: {}, outlier: {}}}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p0.Health, checks.Pools[0].Health; !reflect.DeepEqual(got, want) {
		t.Errorf("the example has the health checks %+v, the defaults are %+v", got, want)
	}
	if got, want := p0.Outlier, checks.Pools[0].Outlier; *got != *want {
		t.Errorf("the example has %+v, the defaults are %+v", got, want)
	}
	if got := p0.Backends; l.WhenNoBackend != NoBackendReset || p0.SlowStart != 30*time.Second || got[1].MaxConnections != 200 || !got[2].Backup {
		t.Errorf("the example has %+v and %+v", l, p0)
	}
}
