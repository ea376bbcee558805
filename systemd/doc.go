// Package systemd speaks with the service manager: it takes the sockets of socket activation and of
// the file descriptor store, and sends notifications (sd_listen_fds(3), sd_notify(3),
// sd_watchdog_enabled(3)). Without a service manager, all of it does nothing.
package systemd
