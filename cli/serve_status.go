package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// loopback reports whether only this machine reaches an address.
func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// serveStatus serves what a controller says of itself over HTTP until stop is called, which
// returns when nobody is answered any more.
func (a *app) serveStatus(address string, handler http.Handler, log *slog.Logger) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: fmt.Errorf("listen on %s for --metrics: %s.\nWrite --metrics HOST:PORT, as in --metrics 127.0.0.1:9464", address, plainCause(err))}
	}
	if !loopback(l.Addr()) {
		fmt.Fprintf(a.Err, "syncline: warning: whoever reaches %s can read how this controller does: nothing there is encrypted, and nobody is asked who they are.\n", l.Addr())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "address", l.Addr().String(), "cause", err)
		}
	}()
	log.Info("serving metrics", "address", l.Addr().String())
	return func() {
		rest, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Shutdown(rest); err != nil {
			server.Close()
		}
		<-over
	}, nil
}
