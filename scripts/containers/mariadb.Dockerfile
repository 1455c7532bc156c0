# Stand-in for the official MariaDB image: same variables (MARIADB_ROOT_PASSWORD, MARIADB_DATABASE, _USER, _PASSWORD).
FROM debian:bookworm-slim
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && apt-get update -q && \
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mariadb-server && \
    rm -rf /var/lib/apt/lists/* /var/lib/mysql/* && mkdir -p /run/mysqld && chown -R mysql:mysql /var/lib/mysql /run/mysqld
COPY mariadb-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/mysql
USER mysql
EXPOSE 3306
ENTRYPOINT ["sh", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["mariadbd"]
