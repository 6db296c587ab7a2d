//go:build bench

package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/influxtest"
)

// peer is the pipeline that people build otherwise: Mosquitto, Telegraf,
// InfluxDB, as fast as their settings allow. Its PUBACK promises memory only.
type peer struct {
	influx              *influxtest.Server
	address             string
	mosquitto, telegraf *process
}

const mosquittoConf = `listener %s 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
persistence true
persistence_location %s/
user %s
log_dest stderr
log_type error
log_type warning
log_type subscribe
`

const telegrafConf = `[agent]
interval = "1s"
flush_interval = "1s"
metric_batch_size = 5000
metric_buffer_limit = 200000
omit_hostname = true
[[inputs.mqtt_consumer]]
servers = ["tcp://%s"]
topics = ["sensors/#"]
qos = 1
client_id = "telegraf"
persistent_session = true
max_undelivered_messages = 50000
topic_tag = ""
data_format = "influx"
[[outputs.influxdb_v2]]
urls = ["%s"]
bucket = "t/autogen"
organization = ""
token = ""
`

func newPeer(t testing.TB) *peer {
	t.Helper()
	dir := t.TempDir()
	p := &peer{influx: influxtest.New(t), address: freeAddress(t)}
	query(t, p.influx, "CREATE DATABASE t")
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		t.Fatal(err)
	}
	// As root it would give itself up to a user who may not write here.
	user := "mosquitto"
	if os.Getuid() == 0 {
		user = "root"
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	p.mosquitto = start(t, tool(t, "mosquitto"), nil, "-c", write("mosquitto.conf", fmt.Sprintf(mosquittoConf, port, dir, user)))
	await(t, "mosquitto's listener", 10*time.Second, func() bool { return answers(p.address) })
	p.telegraf = start(t, tool(t, "telegraf"), nil, "--config", write("telegraf.conf", fmt.Sprintf(telegrafConf, p.address, p.influx.URL)))
	p.mosquitto.says("telegraf 1 sensors/#") // what is sent before it has subscribed is nobody's
	return p
}

func answers(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// stop ends the round; the sources first.
func (p *peer) stop() {
	p.telegraf.kill()
	p.mosquitto.kill()
	p.influx.Kill()
}

// linePublishers are what the fleet is to us: n gateways that each keep a window
// of QoS 1 messages under way, write what PUBACKs made room for in one write,
// and send the same points as our fleet's stations, as line protocol.
type linePublishers struct {
	address  string
	gateways int
	readings int
	window   int
	left     atomic.Int64 // messages still to be sent
}

// publish sends so many messages in all and returns once all are acknowledged.
func (l *linePublishers) publish(messages int64) error {
	l.left.Store(messages)
	errs := make([]error, l.gateways)
	var group sync.WaitGroup
	for i := range l.gateways {
		group.Go(func() { errs[i] = l.gateway(i) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func (l *linePublishers) gateway(i int) (err error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	name := fmt.Sprintf("fleet-%04d", i)
	r := bufio.NewReaderSize(conn, 4<<10)
	if _, err := conn.Write(appendConnect(nil, name)); err != nil {
		return err
	}
	var ack [4]byte // CONNACK and PUBACK are four bytes each
	if _, err := io.ReadFull(r, ack[:]); err != nil || ack[0] != 0x20 || ack[3] != 0 {
		return fmt.Errorf("CONNACK %x: %w", ack, err)
	}
	s := newLineStation(name, l.readings)
	topic := "sensors/3374/" + name
	var out, payload []byte
	free := make([]uint16, 0, l.window)
	for id := range l.window {
		free = append(free, uint16(id+1))
	}
	for {
		out = out[:0]
		for len(free) > 0 && l.left.Add(-1) >= 0 {
			id := free[len(free)-1]
			free = free[:len(free)-1]
			payload = s.append(payload[:0])
			out = appendPublish(out, topic, payload, id)
		}
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return err
			}
		}
		if len(free) == l.window {
			return nil
		}
		for ok := true; ok; ok = r.Buffered() >= len(ack) {
			if _, err := io.ReadFull(r, ack[:]); err != nil || ack[0] != 0x40 {
				return fmt.Errorf("PUBACK %x: %w", ack, err)
			}
			free = append(free, binary.BigEndian.Uint16(ack[2:]))
		}
	}
}

// lineStation makes one gateway's lines: the points that the fleet's station of
// the same name and number of readings becomes in our database.
type lineStation struct {
	points []linePoint
	site   world.Site
	last   int64 // ms of the newest sample
	second int64
	number int
}

type linePoint struct {
	head   []byte
	fields []string
	exact  bool
	// lines are the field sets of this second. Numbers become text once a second
	// and not for each message: the generator is not what is measured.
	lines [64][]byte
}

// The fleet's first quantities, by device (firmware-sim/fleet, layout).
var (
	airFields = []string{"pm2_5", "pm10", "pm1", "pm4", "co2", "temperature", "humidity", "pressure"}
	binFields = []string{"distance", "fill"}
)

func newLineStation(name string, readings int) *lineStation {
	s := &lineStation{site: world.New(1).Site("3374/" + name)}
	air := airFields[:min(readings, len(airFields))]
	s.points = append(s.points, linePoint{head: []byte("air,group=3374,gateway=" + name + ",device=udara "), fields: air})
	if rest := readings - len(air); rest > 0 {
		s.points = append(s.points, linePoint{head: []byte("waste,group=3374,gateway=" + name + ",device=bak "), fields: binFields[:rest], exact: true})
	}
	return s
}

// format makes the field sets of a second: the world's values to three decimals,
// those of the air with a little of the sample's number, as the fleet's are.
func (s *lineStation) format(now time.Time) {
	air, bin := s.site.Air(now), s.site.Bin(now)
	values := [...][]float64{{air.PM25, air.PM10, air.PM1, air.PM4, air.CO2, air.Temperature, min(air.Humidity, 99), air.Pressure}, {bin.Distance, bin.Fill}}
	for i := range s.points {
		p := &s.points[i]
		for n := range p.lines {
			line := p.lines[n][:0]
			for j, f := range p.fields {
				v := math.Round(values[i][j] * 1000)
				if !p.exact {
					v += float64(n)
				}
				if j > 0 {
					line = append(line, ',')
				}
				line = strconv.AppendFloat(append(append(line, f...), '='), v/1000, 'f', -1, 64)
			}
			p.lines[n] = append(line, ' ')
		}
	}
}

// append writes the lines of the next sample.
func (s *lineStation) append(dst []byte) []byte {
	now := time.Now()
	s.last = max(s.last+1, now.UnixMilli())
	s.number++
	if second := s.last / 1000; second != s.second {
		s.format(now)
		s.second = second
	}
	for i := range s.points {
		p := &s.points[i]
		dst = append(append(dst, p.head...), p.lines[s.number%len(p.lines)]...)
		dst = strconv.AppendInt(dst, s.last, 10)
		dst = append(dst, "000000\n"...) // nanoseconds
	}
	return dst
}

// The little of MQTT 3.1.1 that a publisher writes.

func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendConnect logs in with a clean session; credentials are a user name and a
// password.
func appendConnect(dst []byte, client string, credentials ...string) []byte {
	flags, size := byte(0x02), 12+len(client)
	for i, c := range credentials {
		flags |= 0x80 >> i
		size += 2 + len(c)
	}
	dst = appendLength(append(dst, 0x10), size)
	dst = append(appendText(dst, "MQTT"), 4, flags, 0x01, 0x2c) // keep-alive 300 s
	dst = appendText(dst, client)
	for _, c := range credentials {
		dst = appendText(dst, c)
	}
	return dst
}

// appendPublish publishes with QoS 1.
func appendPublish(dst []byte, topic string, payload []byte, id uint16) []byte {
	dst = appendLength(append(dst, 0x32), 4+len(topic)+len(payload))
	dst = binary.BigEndian.AppendUint16(appendText(dst, topic), id)
	return append(dst, payload...)
}
