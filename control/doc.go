// Package control turns the configuration into what the data plane works from, and acts on what
// happens to backends.
//
// It is ordinary, slow, careful Go, in five steps:
//   - [Gather] asks name servers and this machine what the names in a configuration stand for.
//   - [Build] turns the configuration and these facts into a [Plan], which is plain values.
//   - A [Live] applies Plans. It keeps what outlives a configuration: balancers, backends,
//     connection slots, hedge budgets. It hands out an immutable [proxy.State].
//   - [Live.SetEndpoints] changes the backends of a pool between two Plans: host names follow DNS.
//   - A [Watch] for each pool acts on its health checks and its balancer's events while the proxy
//     runs.
package control
