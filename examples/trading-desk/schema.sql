-- The tables of the desk. Each statement can run again on a database that has them already.

-- Names this database: a page that comes back to another one drops what it knew.
create table if not exists desk (id uuid primary key);
insert into desk select gen_random_uuid() where not exists (select from desk);

-- Numbers the events of all users; orders and trades carry the number of the event that made them.
create sequence if not exists event_seq;

-- The rows that the market has played in this round of the replay.
create table if not exists prices (
  row bigint primary key,
  symbol text not null,
  date date not null,
  price double precision not null
);
create index if not exists prices_of_symbol on prices (symbol, row);

create table if not exists accounts (
  user_id text primary key,
  cash numeric(14, 2) not null check (cash >= 0)
);

create table if not exists orders (
  order_id bigint primary key,
  user_id text not null,
  symbol text not null,
  side text not null check (side in ('buy', 'sell')),
  quantity integer not null check (quantity > 0),
  -- Null in a market order, which takes any price.
  limit_price numeric(12, 2),
  filled integer not null default 0 check (filled between 0 and quantity),
  status text not null default 'working' check (status in ('working', 'partial', 'filled', 'cancelled')),
  reason text,
  at timestamptz not null
);
create index if not exists orders_of_user on orders (user_id, order_id);
create index if not exists open_orders on orders (symbol, order_id) where status in ('working', 'partial');

create table if not exists trades (
  trade_id bigint primary key,
  order_id bigint not null references orders,
  user_id text not null,
  symbol text not null,
  side text not null,
  quantity integer not null check (quantity > 0),
  price double precision not null,
  price_date date not null,
  at timestamptz not null
);
create index if not exists trades_of_user on trades (user_id, trade_id);

create table if not exists positions (
  user_id text not null,
  symbol text not null,
  quantity integer not null check (quantity > 0),
  average_price double precision not null,
  primary key (user_id, symbol)
);
