package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/internal/audit"
)

// openAudit opens the audit log before anything that could change something.
func (s *Server) openAudit(context.Context) error {
	var err error
	s.audit, err = audit.Open(audit.Options{Path: filepath.Join(s.o.Data, "audit.log"), Logger: s.log.With("room", "audit")})
	if err != nil {
		return err
	}
	s.closers.Add("audit log", s.audit.Close)
	s.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pantau_audit_sound", Help: "1 if the audit log is whole and can be written, 0 if an operator should look.",
	}, func() float64 {
		if s.audit.Problem() != "" {
			return 0
		}
		return 1
	}))
	return nil
}

// callerKey is the context's key for the user who holds the other end of the
// admin socket.
type callerKey struct{}

// withCaller remembers who holds the other end of a connection of the admin
// socket: the kernel says it.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	who := "os:unknown"
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { // a connection that ended stays unknown
				cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
				if err != nil {
					return
				}
				who = "os:" + strconv.Itoa(int(cred.Uid))
				if known, err := user.LookupId(strconv.Itoa(int(cred.Uid))); err == nil {
					who = "os:" + known.Username
				}
			})
		}
	}
	return context.WithValue(ctx, callerKey{}, who)
}

// changing answers a command that changes something: only if that can be told of.
func changing[T any](s *Server, f func(*http.Request) (T, error)) http.Handler {
	return answer(func(r *http.Request) (T, error) {
		if err := s.audit.Ready(); err != nil {
			var none T
			return none, errors.Join(errors.New("nothing was changed, because it could not be recorded"), err)
		}
		return f(r)
	})
}

// tell writes what the command line's user did into the audit log.
func (s *Server) tell(r *http.Request, action, object, detail string) error {
	who, _ := r.Context().Value(callerKey{}).(string)
	return s.audit.Add(r.Context(), audit.Entry{Who: who, Action: action, Object: object, Detail: detail})
}

// auditQuery is GET /audit.
func (s *Server) auditQuery(r *http.Request) (AuditPage, error) {
	q, err := audit.ParseQuery(r.URL.Query())
	if err != nil {
		return AuditPage{}, err
	}
	found, next, err := s.audit.Search(r.Context(), q)
	return AuditPage{Records: found, Next: next}, err
}

// auditVerify is GET /audit/verify.
func (s *Server) auditVerify(r *http.Request) (audit.Verdict, error) {
	return s.audit.Verify(r.Context(), r.URL.Query().Get("head"))
}
