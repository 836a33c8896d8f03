#!/bin/sh
# Starts a Redis server (`start.sh server`) or a sentinel beside it (`start.sh sentinel`). A server follows the primary that the sentinels
# name, and the first one is the primary as long as none of them names another. HOSTNAME and the headless Service `redis` give the names.
set -eu
me="$HOSTNAME.redis"
password=$(cat /etc/redis-secret/password)
first=redis-0.redis

named() {  # the primary by the word of a sentinel that answers
    for host in redis-0.redis redis-1.redis redis-2.redis; do
        found=$(REDISCLI_AUTH=$password timeout 2 redis-cli -h "$host" -p 26379 --no-auth-warning \
            sentinel get-master-addr-by-name orders 2>/dev/null | head -n 1) || continue
        case $found in redis-*) echo "$found"; return ;; esac
    done
}

umask 077
primary=$(named)
case $1 in
server)
    {
        echo "requirepass $password"
        echo "masterauth $password"
        echo "replica-announce-ip $me"
        echo "maxmemory-policy noeviction"
        echo 'save ""'
        echo "dir /data"
        # A primary that lost its replicas takes no writes: they would be lost with it.
        echo "min-replicas-to-write 1"
        if [ "${primary:-$first}" != "$me" ]; then echo "replicaof ${primary:-$first} 6379"; fi
    } > /data/redis.conf
    exec redis-server /data/redis.conf
    ;;
sentinel)
    {
        echo "port 26379"
        echo "dir /data"
        echo "requirepass $password"
        echo "sentinel resolve-hostnames yes"
        echo "sentinel announce-hostnames yes"
        echo "sentinel announce-ip $me"
        echo "sentinel monitor orders ${primary:-$first} 6379 2"
        echo "sentinel auth-pass orders $password"
        echo "sentinel sentinel-pass $password"
        echo "sentinel down-after-milliseconds orders 5000"
        echo "sentinel failover-timeout orders 30000"
    } > /data/sentinel.conf
    exec redis-server /data/sentinel.conf --sentinel
    ;;
esac
