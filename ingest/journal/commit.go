package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pantau-id/pantau/internal/envelope"
)

// group is what becomes one JetStream message: the packets that came while the
// previous group was being committed, or one body of Append.
type group struct {
	body   []byte
	done   []func(error)
	append chan appended // Append's caller waits here; nil for packets
	begun  time.Time
	engine *engine
	future jetstream.PubAckFuture
	bad    <-chan struct{} // closed when the server complains
	failed error           // why it could not be published
	sent   chan struct{}   // closed when future or failed is set
	err    error           // why it is refused
	alone  bool            // err concerns only this group: what follows may stand
}

type appended struct {
	seq uint64
	err error
}

// window is how many groups may be published before the first is
// acknowledged: the second is encoded and carried over while the first is
// being fsynced. Each names the position it expects to follow, so that none
// stands if one before it does not.
const window = 2

// recordSize is what NATS counts for a message: 22 bytes of record header, 8
// of checksum, 4 + the header that names the expected position.
func recordSize(subject string, body int) int64 {
	return int64(22 + 8 + 4 + 64 + len(subject) + body)
}

// tickReserve is the part of the quota that packets leave to ticks and changes
// of rules.
func tickReserve(quota int64) int64 { return min(max(quota/16, 64<<10), 64<<20) }

// Submit takes one packet into the next group commit and returns at once; p is
// copied. done is called exactly once, from one goroutine, in the order of the
// Submits, and must not block: with nil once the packet is fsynced, or with the
// reason why it is not acknowledged.
func (j *Journal) Submit(p envelope.Packet, done func(error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	size := p.Size()
	switch {
	case j.closing:
		j.rejectLocked(done, ErrClosed)
		return
	case j.refuse != nil:
		j.rejectLocked(done, j.refuse)
		return
	case size > envelope.MaxBytes:
		// Only this one fails: it could never be kept, whatever stands before it.
		j.queueLocked(&group{done: []func(error){done}, alone: true, err: fmt.Errorf("%w: a packet of %d bytes, at most %d", ErrTooLarge, size, envelope.MaxBytes)})
		return
	case j.pending+size > j.o.MaxPending:
		j.refuseLocked(ErrBusy)
		j.refuseClear = true
		j.rejectLocked(done, ErrBusy)
		return
	}
	var g *group
	if n := len(j.queue); n > 0 {
		g = j.queue[n-1]
	}
	if g == nil || g.append != nil || g.err != nil || len(g.done) >= envelope.MaxPackets || len(g.body)+size > envelope.MaxBytes {
		g = &group{body: j.bufferLocked(), begun: time.Now()}
		j.queueLocked(g)
	}
	before := len(g.body)
	g.body = envelope.AppendPacket(g.body, &p)
	g.done = append(g.done, done)
	j.pending += len(g.body) - before
}

// bufferLocked returns an empty body: one whose group is committed, if there is.
// Grown anew, a body would be copied ten times on its way to half a megabyte.
func (j *Journal) bufferLocked() []byte {
	n := len(j.spare)
	if n == 0 {
		return nil
	}
	b := j.spare[n-1]
	j.spare = j.spare[:n-1]
	return b
}

// Append commits one whole envelope (a tick, a change of rules) behind what was
// submitted before and returns its position. It has a reserve: it works while
// packets are refused with ErrFull.
func (j *Journal) Append(ctx context.Context, body []byte) (seq uint64, err error) {
	if len(body) > MaxEnvelope {
		return 0, fmt.Errorf("%w: an envelope of %d bytes, at most %d", ErrTooLarge, len(body), MaxEnvelope)
	}
	g := &group{body: slices.Clone(body), append: make(chan appended, 1), begun: time.Now()}
	j.mu.Lock()
	switch {
	case j.closing:
		err = ErrClosed
	case j.refuse != nil && !errors.Is(j.refuse, ErrFull):
		err = j.refuse
	default:
		j.queueLocked(g)
		j.pending += len(body)
	}
	j.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("append to the journal: %w", err)
	}
	select {
	case a := <-g.append:
		if a.err != nil {
			return 0, fmt.Errorf("append to the journal: %w", a.err)
		}
		return a.seq, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("append to the journal: %w", ctx.Err())
	}
}

func (j *Journal) queueLocked(g *group) {
	j.queue = append(j.queue, g)
	j.changed.Broadcast()
}

// rejectLocked puts one refused packet behind what already waits for its
// callback, so that the order stands.
func (j *Journal) rejectLocked(done func(error), err error) {
	if n := len(j.rejected); n > 0 && errors.Is(j.rejected[n-1].err, err) && len(j.rejected[n-1].done) < envelope.MaxPackets {
		j.rejected[n-1].done = append(j.rejected[n-1].done, done)
		return
	}
	j.rejected = append(j.rejected, &group{done: []func(error){done}, err: err})
	j.changed.Broadcast()
}

// refuseLocked stops taking packets and refuses those that wait: a packet must
// not stand without the ones before it.
func (j *Journal) refuseLocked(err error) {
	if j.refuse == nil {
		j.log.Error("the journal refuses packets", "error", err)
	}
	j.refuse, j.refuseClear = err, false
	if errors.Is(err, ErrFull) {
		// Ticks and rules that wait go on.
		var keep []*group
		for _, g := range j.queue {
			if g.append != nil {
				keep = append(keep, g)
			} else {
				j.rejectGroupLocked(g, err)
			}
		}
		j.queue = keep
	} else {
		for _, g := range j.queue {
			j.rejectGroupLocked(g, err)
		}
		j.queue = nil
	}
	j.changed.Broadcast()
}

func (j *Journal) rejectGroupLocked(g *group, err error) {
	j.pending -= len(g.body)
	if !g.alone {
		g.err = err
	}
	j.rejected = append(j.rejected, g)
}

// rejectAllLocked is the end: nothing is taken any more.
func (j *Journal) rejectAllLocked(err error) {
	j.refuse, j.refuseClear = err, false
	for _, g := range j.queue {
		j.rejectGroupLocked(g, err)
	}
	j.queue = nil
	j.changed.Broadcast()
}

// commitLoop publishes group after group, window of them at a time.
func (j *Journal) commitLoop() {
	var looked time.Time
	for {
		j.mu.Lock()
		for j.ctx.Err() == nil && (len(j.queue) == 0 || len(j.inflight) >= window || j.engine == nil) {
			j.changed.Wait()
		}
		next, reserved := j.published+1, j.mark.Reserved
		j.mu.Unlock()
		if j.ctx.Err() != nil {
			return
		}
		// I/O without the lock; the group stays in the queue meanwhile.
		if time.Since(looked) > 50*time.Millisecond {
			j.lookAtDisk()
			looked = time.Now()
		}
		var markErr error
		if next > reserved {
			markErr = j.updateMark(func(m *mark) { m.Reserved = max(m.Reserved, next+markStep) })
		}
		j.mu.Lock()
		g, e := j.takeLocked(markErr)
		expect := j.published
		publish := g != nil && !g.alone
		if publish {
			j.published++
		}
		j.mu.Unlock()
		if g == nil {
			continue
		}
		if publish {
			g.future, g.failed = e.pubJS.PublishAsync(j.subject, g.body, jetstream.WithExpectLastSequence(expect))
		}
		close(g.sent)
	}
}

// takeLocked moves the first group of the queue to inflight, or refuses it.
func (j *Journal) takeLocked(markErr error) (*group, *engine) {
	if len(j.queue) == 0 || j.engine == nil {
		return nil, nil
	}
	g := j.queue[0]
	if markErr != nil {
		j.failLocked(fmt.Errorf("%w: %w", ErrDisk, markErr))
		return nil, nil
	}
	if g.err == nil {
		size := recordSize(j.subject, len(g.body))
		for _, f := range j.inflight {
			size += recordSize(j.subject, len(f.body))
		}
		switch {
		case g.append == nil && j.bytes+size > j.quota-tickReserve(j.quota):
			j.refuseLocked(fmt.Errorf("%w: it holds %d of %d bytes; room is made when every reader has done with the oldest", ErrFull, j.bytes, j.quota))
			return nil, nil
		case g.append == nil && j.room < size:
			j.refuseLocked(fmt.Errorf("%w: the disk under %s has less than the reserve of %d bytes free", ErrFull, j.o.Dir, j.o.Reserve))
			return nil, nil
		case j.bytes+size > j.quota:
			g.err, g.alone = ErrFull, true
		}
	}
	j.queue = j.queue[1:]
	j.room -= recordSize(j.subject, len(g.body)) // until the next look
	g.sent, g.engine, g.bad = make(chan struct{}), j.engine, j.engine.events.bad()
	j.inflight = append(j.inflight, g)
	j.changed.Broadcast()
	return g, j.engine
}

// acknowledgeLoop waits for results in order and runs every callback.
func (j *Journal) acknowledgeLoop() {
	for {
		j.mu.Lock()
		for j.ctx.Err() == nil && len(j.inflight) == 0 && len(j.rejected) == 0 {
			j.changed.Wait()
		}
		switch {
		case len(j.inflight) > 0:
			g := j.inflight[0]
			j.mu.Unlock()
			j.settle(g)
		case len(j.rejected) > 0:
			g := j.rejected[0]
			j.rejected = j.rejected[1:]
			j.rejecting = true
			j.mu.Unlock()
			j.metrics.refused(g)
			g.finish(0, g.err)
			j.mu.Lock()
			j.rejecting = false
			j.takeAgainLocked()
			j.changed.Broadcast()
			j.mu.Unlock()
		default:
			j.mu.Unlock()
			return
		}
	}
}

// settle waits for one published group and runs its callbacks, unless it
// failed: then it and all behind it are refused.
func (j *Journal) settle(g *group) {
	seq, err := j.result(g)
	j.mu.Lock()
	if len(j.inflight) == 0 || j.inflight[0] != g {
		j.mu.Unlock() // refused meanwhile
		return
	}
	if err != nil && !g.alone {
		j.failLocked(err)
		j.mu.Unlock()
		return
	}
	j.inflight = j.inflight[1:]
	j.pending -= len(g.body)
	if err == nil {
		j.last = seq
		j.bytes += recordSize(j.subject, len(g.body))
		close(j.advanced)
		j.advanced = make(chan struct{})
	}
	j.rejecting = true // Close waits for the callbacks
	j.changed.Broadcast()
	j.mu.Unlock()
	if err == nil {
		j.metrics.committed(g)
	}
	g.finish(seq, err)
	j.mu.Lock()
	if err == nil && g.append == nil && len(j.spare) < window {
		j.spare = append(j.spare, g.body[:0])
	}
	j.rejecting = false
	j.changed.Broadcast()
	j.mu.Unlock()
}

// result waits for the group's durable acknowledgement.
func (j *Journal) result(g *group) (seq uint64, err error) {
	<-g.sent
	if g.alone {
		return 0, g.err
	}
	if g.failed != nil {
		return 0, fmt.Errorf("%w: publish: %w", ErrDisk, g.failed)
	}
	timeout := time.NewTimer(j.o.CommitTimeout)
	defer timeout.Stop()
	for bad := g.bad; ; {
		select {
		case ack := <-g.future.Ok():
			return ack.Sequence, nil
		case err := <-g.future.Err():
			var api *jetstream.APIError
			if errors.As(err, &api) && api.ErrorCode == errCodeStoreFailed {
				return 0, fmt.Errorf("%w: %w", ErrFull, err)
			}
			return 0, fmt.Errorf("%w: commit: %w", ErrDisk, err)
		case <-bad:
			bad = nil
			timeout.Reset(min(j.o.CommitTimeout, grace))
		case <-g.engine.gone:
			return 0, fmt.Errorf("%w: the store was reopened", ErrDisk)
		case <-timeout.C:
			return 0, fmt.Errorf("%w: a commit brought no answer", ErrDisk)
		case <-j.ctx.Done():
			return 0, ErrClosed
		}
	}
}

// grace is how long an answer may take once the server has complained.
const grace = 250 * time.Millisecond

// errCodeStoreFailed is JSStreamStoreFailedF: at the stream's own limit.
const errCodeStoreFailed jetstream.ErrorCode = 10077

// failLocked refuses everything that is not acknowledged yet, in order, and
// has the store reopened if the disk is to blame.
func (j *Journal) failLocked(err error) {
	groups := append(j.inflight, j.queue...)
	j.inflight, j.queue = nil, nil
	// Packets before the ones that were refused earlier can't exist: while
	// packets are refused none is queued.
	for _, g := range groups {
		j.rejectGroupLocked(g, err)
	}
	j.refuseLocked(err)
	if errors.Is(err, ErrFull) {
		j.published = j.last
		return
	}
	j.sick = j.engine
	select {
	case j.broken <- struct{}{}:
	default:
	}
}

// suspect is called by what saw the store e not answering outside of a commit.
func (j *Journal) suspect(e *engine, err error) {
	if !errors.Is(err, ErrDisk) && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrNoResponders) &&
		!errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) && !errors.Is(err, jetstream.ErrNoStreamResponse) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.engine == e && !j.closing {
		j.failLocked(fmt.Errorf("%w: %w", ErrDisk, err))
	}
}

// takeAgainLocked ends the refusal once its reason has gone and every refused
// packet's callback has returned: only then does each session know that it
// failed.
func (j *Journal) takeAgainLocked() {
	if j.refuse != nil && j.refuseClear && len(j.rejected) == 0 && !j.rejecting && !j.closing {
		j.log.Info("the journal takes packets again", "after", j.refuse)
		j.refuse, j.refuseClear = nil, false
	}
}

// lookAtDisk measures the free space above the reserve.
func (j *Journal) lookAtDisk() {
	free, err := j.o.freeSpace(j.o.Dir)
	if err != nil {
		j.log.Error("the disk's free space is unknown", "error", err)
		return
	}
	j.mu.Lock()
	j.room = free - j.o.Reserve
	j.mu.Unlock()
}

// lookForRoomLocked ends ErrFull when there is room for some commits.
func (j *Journal) lookForRoomLocked() {
	need := min(4*int64(envelope.MaxBytes), j.quota/8)
	if errors.Is(j.refuse, ErrFull) && j.bytes+need <= j.quota-tickReserve(j.quota) && j.room >= need {
		j.refuseClear = true
		j.takeAgainLocked()
		j.changed.Broadcast()
	}
}

// finish tells who waits.
func (g *group) finish(seq uint64, err error) {
	if g.append != nil {
		g.append <- appended{seq, err}
		return
	}
	for _, done := range g.done {
		done(err)
	}
}

// superviseLoop reopens the store after an error of the disk and looks for
// space while the journal is full.
func (j *Journal) superviseLoop() {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-look.C:
			j.lookAtDisk()
			j.mu.Lock()
			j.lookForRoomLocked()
			j.mu.Unlock()
		case <-j.broken:
			j.reopen()
		}
	}
}

// reopen replaces the embedded server, with back-off until it stands.
func (j *Journal) reopen() {
	j.mu.Lock()
	e := j.engine
	if e == nil || e != j.sick {
		j.mu.Unlock()
		return // replaced already
	}
	j.engine, j.sick, j.engineReady = nil, nil, make(chan struct{})
	j.mu.Unlock()
	e.close()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		fresh, err := j.openEngine(j.ctx)
		if err == nil {
			j.reopens.Add(1)
			j.install(fresh)
			return
		}
		j.log.Error("the store could not be reopened", "error", err, "again_in", wait)
		select {
		case <-j.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// install makes e the engine that commits and reads go to.
func (j *Journal) install(e *engine) {
	j.lookAtDisk()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.engine, j.opened = e, true
	j.first, j.last, j.published, j.bytes, j.quota = e.first, e.last, e.last, e.bytes, e.quota
	close(j.engineReady)
	close(j.advanced)
	j.advanced = make(chan struct{})
	if j.refuse != nil && !errors.Is(j.refuse, ErrFull) {
		j.refuseClear = true
		j.takeAgainLocked()
	}
	j.lookForRoomLocked()
	j.changed.Broadcast()
}
