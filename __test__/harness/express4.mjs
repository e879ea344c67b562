// Gives a program of the tests Express 4 where it asks for Express.
import { register } from 'node:module'

const source = `export const resolve = (name, context, next) => next(name === 'express' ? 'express4' : name, context)`
register(`data:text/javascript,${encodeURIComponent(source)}`)
