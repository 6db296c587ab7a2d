package main

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestServesRealClients(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, out, "127.0.0.1:0", false) }()
	address, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(strings.TrimSpace(address), ":")
	limit, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	client := func(program string, args ...string) (string, error) {
		b, err := exec.CommandContext(limit, program, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
		return string(b), err
	}
	for _, qos := range []string{"0", "1", "2"} {
		if out, err := client("mosquitto_pub", "-t", "kept/"+qos, "-q", qos, "-r", "-m", "message "+qos); err != nil {
			t.Fatalf("publish: %v %s", err, out)
		}
	}
	got, err := client("mosquitto_sub", "-t", "kept/#", "-q", "2", "-C", "3")
	if err != nil || strings.Count(got, "message") != 3 {
		t.Errorf("subscribe: %v %s", err, got)
	}
	if got, _ := client("mosquitto_sub", "-t", "test/nosubscribe", "-C", "1"); !strings.Contains(got, "denied") {
		t.Errorf("denied topic: %s", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRefusesOtherThanLoopback(t *testing.T) {
	if err := run(t.Context(), io.Discard, "0.0.0.0:0", false); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("%v", err)
	}
}
