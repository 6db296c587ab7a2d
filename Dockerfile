# The three programs, static, in an image without anything else.
FROM node:22-bookworm-slim AS web
WORKDIR /src/dashboards/web
COPY dashboards/web/package.json dashboards/web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY dashboards/web ./
RUN npm run build

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=web /src/dashboards/web/dist dashboards/web/dist
ARG VERSION=unversioned
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/pantau ./cmd/server \
 && go build -tags nethttpomithttp2 -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/pantau-gateway ./cmd/gateway \
 && go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/firmware-sim ./cmd/firmware-sim \
 && mkdir -p /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /out/pantau /out/pantau-gateway /out/firmware-sim /
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME /data
ENTRYPOINT ["/pantau"]
CMD ["serve", "--data=/data"]
