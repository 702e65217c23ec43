// Market-data clients from npm: as feed_clients.py.
'use strict';

const [name, symbol, loginText] = process.argv.slice(2);
const login = JSON.parse(loginText);

function report(symbol, text, price) {
  process.stdout.write(JSON.stringify([symbol, text, price]) + '\n');
}

const clients = {
  async '@mathieuc/tradingview'() {
    const tradingView = require('@mathieuc/tradingview');
    const user = await tradingView.loginUser(login.username, login.password);
    const client = new tradingView.Client({token: user.session, signature: user.signature});
    const market = new (new client.Session.Quote()).Market(symbol);
    market.onData(quote => report(quote.original_name, quote.description, quote.lp));
  },

  async 'tradingview-scraper'() {
    const {TradingViewAPI} = require('tradingview-scraper');
    const api = new TradingViewAPI();
    await api.setup();
    const ticker = await api.getTicker(symbol);
    ticker.on('update', quote => report(quote.pro_name, quote.description, quote.lp));
  },
};

clients[name]();
